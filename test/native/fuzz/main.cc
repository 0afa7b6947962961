#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "fuzz/fuzz.h"

// xfilter_fuzz IMAGE SECONDS [SEED]: each target for so many seconds, from a seed on. A round that fails is
// repeated by its seed and 0 seconds. Build it with sanitizers: CONTRIBUTING.md.
int main(int count, char** arguments) try {
  using Clock = std::chrono::steady_clock;
  if (count < 3) {
    std::fputs("usage: xfilter_fuzz IMAGE SECONDS [SEED]\n", stderr);
    return 2;
  }
  const double seconds = std::atof(arguments[2]);
  const uint64_t first = count > 3 ? std::strtoull(arguments[3], nullptr, 10) : 1;
  xfilter::test::Fuzz fuzz(arguments[1]);
  bool failed = false;
  for (const std::string& target : xfilter::test::Fuzz::targets()) {
    const auto end = Clock::now() + std::chrono::duration<double>(seconds);
    uint64_t seed = first;
    double slowest = 0;
    uint64_t slowestSeed = first;
    do {
      const auto start = Clock::now();
      if (const auto complaint = fuzz.round(target, seed)) {
        std::printf("%s: seed %llu: %s\n", target.c_str(), static_cast<unsigned long long>(seed),
                    complaint->c_str());
        failed = true;
      }
      const double took = std::chrono::duration<double>(Clock::now() - start).count();
      if (took > slowest) slowest = took, slowestSeed = seed;
      ++seed;
    } while (Clock::now() < end);
    std::printf("%s: %llu rounds, the slowest %.0f ms with seed %llu\n", target.c_str(),
                static_cast<unsigned long long>(seed - first), slowest * 1e3,
                static_cast<unsigned long long>(slowestSeed));
    std::fflush(stdout);
  }
  return failed ? 1 : 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
