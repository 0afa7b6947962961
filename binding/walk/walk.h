#pragma once

#include <chrono>
#include <stop_token>
#include <vector>

#include "kernel/kernel.h"
#include "walk/network_devices.h"
#include "walk/process.h"
#include "walk/quality.h"
#include "walk/socket.h"

namespace xfilter {

struct WalkOptions {
  /// Whether to read what each process was started as, from its own pages.
  bool details = false;
  /// Whether a live guest is stopped meanwhile: then nothing has to be read twice.
  bool paused = false;
  std::chrono::nanoseconds budget = std::chrono::seconds(10);
};

/// What one pass over the guest's processes and sockets saw.
struct WalkResult {
  std::vector<Process> processes;
  /// One a process, or none if they were not asked for.
  std::vector<ProcessDetails> details;
  std::vector<std::string> cgroups;
  std::vector<Discrepancy> discrepancies;
  std::vector<Socket> sockets;
  /// In the order of `sockets`.
  std::vector<Owner> owners;
  std::vector<OtherSocket> others;
  /// In the order of `others`.
  std::vector<Owner> otherOwners;
  std::vector<NetNamespace> namespaces;
  Quality quality;
};

/// In a guest that runs, all of it is made sure of: docs/consistency.md. GUEST_CHANGED if another kernel runs
/// there by now; WALK_BUDGET when the time is up, ABORTED on request: a walk that did not end has no result.
Result<WalkResult> walk(const Kernel& kernel, const WalkOptions& options, const std::stop_token& stop);

}  // namespace xfilter
