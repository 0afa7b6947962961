#include "fuzz/fuzz.h"

#include <cstdlib>
#include <map>

#include "doctest/doctest.h"

using namespace xfilter::test;

// scripts/test-native.ts unpacks the image that comes with the repository. xfilter_fuzz runs longer.
TEST_CASE("fuzz: what is real, broken at random, is read without harm" *
          doctest::skip(std::getenv("XFILTER_IMAGE") == nullptr)) {
  Fuzz fuzz(std::getenv("XFILTER_IMAGE"));
  const std::map<std::string, uint64_t> rounds = {
      {"headers", 2000}, {"types", 30}, {"symbols", 30}, {"attach", 30}, {"walk", 100}};
  for (const std::string& target : Fuzz::targets()) {
    for (uint64_t seed = 1; seed <= rounds.at(target); ++seed) {
      CAPTURE(target);
      CAPTURE(seed);
      CHECK(fuzz.round(target, seed).value_or("") == "");
    }
  }
}
