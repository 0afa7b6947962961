// The core's layers without Node: `xfilter_bench IMAGE RUNS` prints one JSON line a layer with the
// milliseconds of each run; `xfilter_bench --offsets IMAGE` prints the header that the floor is compiled
// with, `xfilter_bench --expected IMAGE` what drgn's walk must count.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include "floor_layout.h"
#include "kernel/kernel_space.h"
#include "kernel/types.h"
#include "memory/image.h"
#include "snapshot/snapshot.h"
#include "walk/context.h"
#include "walk/files.h"
#include "walk/unheld_sockets.h"

namespace xfilter {
namespace {

// A walk takes milliseconds, an attach tens of them, a scan more: fewer runs are enough where each is long.
constexpr int kWalksAnAttach = 20;
constexpr int kWarmUp = 3;

[[noreturn]] void fail(const Error& error) {
  std::fprintf(stderr, "%s: %s\n", std::string(error.code).c_str(), error.message.c_str());
  std::exit(1);
}

template <class T>
T need(Result<T> result) {
  if (!result) fail(result.error());
  return std::move(*result);
}

/// What each layer took, run by run.
class Laps {
 public:
  /// Starts a round; one that only warms up is not kept.
  void begin(bool keep) {
    keep_ = keep;
    last_ = Clock::now();
  }
  void restart() { last_ = Clock::now(); }

  void finish(const char* layer) {
    const std::chrono::duration<double, std::milli> lap = Clock::now() - last_;
    if (keep_) times_[layer].push_back(lap.count());
    last_ = Clock::now();
  }

  void print() const {
    for (const auto& [layer, times] : times_) {
      std::printf("{\"what\":\"%s\",\"times\":[", layer.c_str());
      for (size_t i = 0; i < times.size(); ++i) std::printf("%s%.6f", i == 0 ? "" : ",", times[i]);
      std::printf("]}\n");
    }
  }

 private:
  using Clock = std::chrono::steady_clock;
  std::map<std::string, std::vector<double>> times_;
  Clock::time_point last_;
  bool keep_ = false;
};

/// An image, read as a guest that runs is: what making sure costs where nothing moves.
class StillGuest final : public PhysicalMemory {
 public:
  explicit StillGuest(const PhysicalMemory& image) : image_(image) {}

  std::span<const std::byte> view(PhysicalAddress address) const override { return image_.view(address); }
  std::span<const MemoryRange> ranges() const override { return image_.ranges(); }
  MemoryRange nextStored(PhysicalAddress address) const override { return image_.nextStored(address); }
  void release(MemoryRange run) const override { image_.release(run); }
  bool live() const override { return true; }
  std::string_view format() const override { return image_.format(); }
  Result<void> intact() const override { return image_.intact(); }

 private:
  const PhysicalMemory& image_;
};

Budget ample() { return {{}, std::chrono::minutes(10)}; }

void attachOnce(const std::string& path, Laps& laps, bool keep) {
  Budget budget = ample();
  laps.begin(keep);
  const auto image = need(Image::open(path));
  laps.finish("attach: open");
  const auto spaces = need(findKernelSpaces(*image, budget));
  laps.finish("attach: find the kernel");
  const KernelSpace& found = spaces.front();
  KernelMemory memory(found.space);
  const auto symbols = need(findSymbols(memory, found, budget));
  laps.finish("attach: kallsyms");
  const auto types = need(typesOfGuest(memory, symbols.symbols, found.imageStart, budget));
  laps.finish("attach: BTF");
  need(Layout::resolve(types.btf));
  laps.finish("attach: layout");
  scanForVmcoreinfo(*image, budget, [](const Vmcoreinfo&, PhysicalAddress) { return true; });
  laps.finish("scan of the whole memory for VMCOREINFO");
}

void walkOnce(const Kernel& kernel, const Kernel& still, Laps& laps, bool keep) {
  WalkContext context{kernel, KernelMemory(kernel.space), Budget({}, std::chrono::minutes(1))};
  laps.begin(keep);
  Tasks tasks = walkTasks(context);
  laps.finish("walk: tasks");
  HeldSockets held = walkFiles(context, tasks.tables);
  laps.finish("walk: files and their sockets");
  held.rings.insert(held.rings.end(), tasks.rings.begin(), tasks.rings.end());
  laps.restart();
  addUnheldSockets(context, held);
  laps.finish("walk: unheld sockets");

  laps.restart();
  auto result = need(walk(kernel, {}, {}));
  laps.finish("walk: everything");
  const Snapshot snapshot = makeSnapshot(result);
  laps.finish("columns");
  need(walk(still, {}, {}));
  laps.finish("walk: everything, made sure of");
}

void measure(const std::string& path, int runs) {
  const auto image = need(Image::open(path));
  Budget budget = ample();
  const Kernel kernel = need(findKernel(*image, {}, budget));
  const StillGuest guest(*image);
  Kernel still = kernel;
  still.space = kernel.space.over(guest);
  Laps laps;
  for (int run = -kWarmUp; run < runs; ++run) {
    walkOnce(kernel, still, laps, run >= 0);
    if (run < 0 || run % kWalksAnAttach == 0) attachOnce(path, laps, run >= 0);
  }
  laps.print();
}

}  // namespace
}  // namespace xfilter

int main(int count, char** arguments) {
  const std::string first = count == 3 ? arguments[1] : "";
  if (first == "--offsets" || first == "--expected") {
    const auto image = xfilter::need(xfilter::Image::open(arguments[2]));
    xfilter::Budget budget = xfilter::ample();
    const auto kernel = xfilter::need(xfilter::findKernel(*image, {}, budget));
    if (first == "--expected") {
      xfilter::printExpected(kernel);
    } else if (const auto printed = xfilter::printFloorLayout(*image, kernel); !printed) {
      xfilter::fail(printed.error());
    }
    return 0;
  }
  if (count != 3) {
    std::fprintf(stderr, "usage: xfilter_bench IMAGE RUNS | xfilter_bench --offsets|--expected IMAGE\n");
    return 2;
  }
  xfilter::measure(arguments[1], std::atoi(arguments[2]));
  return 0;
}
