// What one poll of a domain of Xen costs, in Dom0, without Node: the steps of the thesis in their order
// (pause; registers; GS base, current task, around the list; files to sockets; unpause), with nothing mapped
// before, with what the last poll used mapped in one go, and with all of it still mapped; then the same
// without a pause. What this asks Xen for is counted; of what is cold also the opening and the letting go.
//
//     xfilter_bench_xen DOMAIN POLLS        (`npm run bench:xen` boots Xen and runs it)
//
// Prints one line of JSON. Times are the time-stamp counter's: Dom0's clock may move in steps of milliseconds
// where Xen is emulated. Not for a domain that matters: killed in a poll, this leaves it paused.

#include <x86intrin.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

#include "kernel/attach_memory.h"
#include "memory/xen_memory.h"
#include "walk/vcpus.h"
#include "walk/walk.h"

namespace {

using namespace xfilter;

/// Calls of Xen since the start. The thread that hears of the domain's end asks, too, for no poll.
struct Calls {
  uint64_t state = 0, registers = 0, pause = 0, unpause = 0, map = 0, pages = 0, unmap = 0;
};
thread_local Calls calls;
const XenLibraries* libraries = nullptr;

XenLibraries counting() {
  XenLibraries table = *libraries;
  table.domainInfo = [](void* control, uint32_t first, unsigned count, void* states) {
    return ++calls.state, libraries->domainInfo(control, first, count, states);
  };
  table.vcpuContext = [](void* control, uint32_t domain, uint32_t vcpu, void* context) {
    return ++calls.registers, libraries->vcpuContext(control, domain, vcpu, context);
  };
  table.pause = [](void* control, uint32_t domain) {
    return ++calls.pause, libraries->pause(control, domain);
  };
  table.unpause = [](void* control, uint32_t domain) {
    return ++calls.unpause, libraries->unpause(control, domain);
  };
  table.map = [](void* foreign, uint32_t domain, int protection, size_t pages, const uint64_t* frames,
                 int* errors) {
    ++calls.map;
    calls.pages += pages;
    return libraries->map(foreign, domain, protection, pages, frames, errors);
  };
  table.unmap = [](void* foreign, void* address, size_t pages) {
    return ++calls.unmap, libraries->unmap(foreign, address, pages);
  };
  return table;
}

[[noreturn]] void fail(const std::string& why) {
  std::fprintf(stderr, "xfilter_bench_xen: %s\n", why.c_str());
  std::exit(1);
}

template <class T>
T must(Result<T> result) {
  if (!result) fail(result.error().message);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

double ticksPerMillisecond() {
  constexpr auto kTime = std::chrono::seconds(2);
  const auto start = std::chrono::steady_clock::now();
  const uint64_t ticks = __rdtsc();
  std::this_thread::sleep_for(kTime);
  const uint64_t elapsed = __rdtsc() - ticks;
  const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
  return static_cast<double>(elapsed) / time.count();
}

/// How often, and how long: what was measured of one way to poll.
class Series {
 public:
  void add(uint64_t ticks) {
    sum_ += ticks;
    least_ = std::min(least_, ticks);
    most_ = std::max(most_, ticks);
    ++polls_;
  }

  std::string json(const std::string& name, const Calls& used, double tick) const {
    const auto ms = [&](double ticks) { return std::to_string(ticks / tick); };
    const auto each = [&](uint64_t count) {
      return std::to_string(static_cast<double>(count) / static_cast<double>(polls_));
    };
    return "\"" + name + "\":{\"meanMs\":" + ms(static_cast<double>(sum_) / static_cast<double>(polls_)) +
           ",\"minMs\":" + ms(static_cast<double>(least_)) + ",\"maxMs\":" + ms(static_cast<double>(most_)) +
           ",\"calls\":{\"state\":" + each(used.state) + ",\"registers\":" + each(used.registers) +
           ",\"pause\":" + each(used.pause) + ",\"unpause\":" + each(used.unpause) +
           ",\"map\":" + each(used.map) + ",\"unmap\":" + each(used.unmap) +
           "},\"pagesMapped\":" + each(used.pages) + "}";
  }

 private:
  uint64_t sum_ = 0, least_ = ~uint64_t{0}, most_ = 0, polls_ = 0;
};

class Bench {
 public:
  Bench(uint32_t id, int polls) : table_(counting()), polls_(polls) {
    xen_ = must(Xen::open(table_));
    const auto state = must(xen_->domain(id));
    if (!state) fail("there is no such domain");
    domain_ = state->domain;
    Budget budget({}, std::chrono::minutes(2));
    guest_ = std::make_unique<AttachedGuest>(must(attachMemory(open(true), {}, {}, budget)));
    tick_ = ticksPerMillisecond();
  }

  void run() {
    std::string out = "{" + measure("bare", [this] { return paused([] { return Result<void>(); }); });
    out += "," + measure("cold", [this] {
             const auto fresh = open(true);
             return paused([&] { return steps(*fresh, true); });
           });
    {
      const auto anew = open(false);
      const auto poll = [&] { return paused([&] { return steps(*anew, true); }); };
      poll();
      out += "," + measure("anew", poll);
    }
    const auto kept = [this] { return paused([&] { return steps(*guest_->memory, true); }); };
    kept();
    out += "," + measure("kept", kept);
    const auto unpaused = [this] {
      const uint64_t start = __rdtsc();
      must(steps(*guest_->memory, false));
      return __rdtsc() - start;
    };
    unpaused();
    out += "," + measure("unpaused", unpaused);
    out += ",\"processes\":" + std::to_string(processes_) + ",\"sockets\":" + std::to_string(sockets_) + "}";
    std::puts(out.c_str());
  }

 private:
  std::unique_ptr<XenMemory> open(bool keepMappings) {
    return must(XenMemory::open(xen_, must(XenStore::open(table_)), domain_, keepMappings));
  }

  /// How long the domain stood.
  template <class Work>
  uint64_t paused(Work work) {
    const uint64_t start = __rdtsc();
    must(xen_->pause(domain_));
    const Result<void> done = work();
    must(xen_->unpause(domain_));
    const uint64_t elapsed = __rdtsc() - start;
    must(done);
    return elapsed;
  }

  Result<void> steps(const PhysicalMemory& memory, bool isPaused) {
    const auto session = memory.session();
    if (!session) return tl::unexpected(session.error());
    Kernel kernel = guest_->kernel;
    kernel.space = kernel.space.over(memory);
    const auto vcpus = readVcpus(kernel, memory.vcpus(), {});
    if (!vcpus) return tl::unexpected(vcpus.error());
    const auto result =
        walk(kernel, {.details = false, .paused = isPaused, .budget = std::chrono::seconds(60)}, {});
    if (!result) return tl::unexpected(result.error());
    processes_ = result->processes.size();
    sockets_ = result->sockets.size();
    return memory.intact();
  }

  template <class Poll>
  std::string measure(const char* name, Poll poll) {
    std::fprintf(stderr, "%s: %d polls\n", name, polls_);
    const Calls before = calls;
    Series series;
    for (int i = 0; i < polls_; ++i) series.add(poll());
    const Calls used = {.state = calls.state - before.state,
                        .registers = calls.registers - before.registers,
                        .pause = calls.pause - before.pause,
                        .unpause = calls.unpause - before.unpause,
                        .map = calls.map - before.map,
                        .pages = calls.pages - before.pages,
                        .unmap = calls.unmap - before.unmap};
    return series.json(name, used, tick_);
  }

  XenLibraries table_;
  int polls_;
  std::shared_ptr<const Xen> xen_;
  XenDomainId domain_;
  std::unique_ptr<AttachedGuest> guest_;
  double tick_ = 1;
  size_t processes_ = 0, sockets_ = 0;
};

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) fail("give a domain's id and a number of polls");
  const long id = std::strtol(arguments[1], nullptr, 10), polls = std::strtol(arguments[2], nullptr, 10);
  if (id < 1 || polls < 1) fail("give a domain's id and a number of polls");
  libraries = must(XenLibraries::load());
  Bench(static_cast<uint32_t>(id), static_cast<int>(polls)).run();
}
