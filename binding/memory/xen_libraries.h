#pragma once

#include <cstddef>
#include <cstdint>

#include "memory/result.h"

namespace xfilter {

/// What is used of Xen's libraries, opened at run time: this addon loads on machines without Xen, and of
/// libxenctrl each Xen has its own. Nothing of their headers is needed: handles are pointers, and what of
/// structures is read is described where it is read (xen.cc).
///
/// A table of plain functions, so that tests can put others there.
struct XenLibraries {
  // libxenctrl, which changes with each Xen and has to be that of the one that runs.
  void* (*controlOpen)(void* logger, void* builderLogger, unsigned flags) = nullptr;
  int (*controlClose)(void* control) = nullptr;
  /// The states of up to `count` domains from `first` on; how many there were.
  int (*domainInfo)(void* control, uint32_t first, unsigned count, void* states) = nullptr;
  int (*vcpuContext)(void* control, uint32_t domain, uint32_t vcpu, void* context) = nullptr;
  int (*lastFrame)(void* control, uint32_t domain, unsigned long* frame) = nullptr;
  int (*pause)(void* control, uint32_t domain) = nullptr;
  int (*unpause)(void* control, uint32_t domain) = nullptr;

  // libxenforeignmemory, whose interface is stable.
  void* (*foreignOpen)(void* logger, unsigned flags) = nullptr;
  int (*foreignClose)(void* foreign) = nullptr;
  /// Returns a mapping even where pages failed: `errors` has an errno for each.
  void* (*map)(void* foreign, uint32_t domain, int protection, size_t pages, const uint64_t* frames,
               int* errors) = nullptr;
  int (*unmap)(void* foreign, void* address, size_t pages) = nullptr;

  // libxenstore, whose interface is stable.
  void* (*storeOpen)(unsigned long flags) = nullptr;
  void (*storeClose)(void* store) = nullptr;
  /// Both allocate what they return, in one piece. The value ends with a zero byte that `size` does not
  /// count.
  void* (*storeRead)(void* store, uint32_t transaction, const char* path, unsigned* size) = nullptr;
  char** (*storeList)(void* store, uint32_t transaction, const char* path, unsigned* count) = nullptr;
  bool (*storeWatch)(void* store, const char* path, const char* token) = nullptr;
  int (*storeDescriptor)(void* store) = nullptr;
  /// A path and a token, in one allocation; null when nothing has happened.
  char** (*storeEvent)(void* store) = nullptr;

  /// Opened once in a process, and never closed. XEN_UNAVAILABLE says which library or function is missing.
  static Result<const XenLibraries*> load();
};

}  // namespace xfilter
