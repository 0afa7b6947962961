#include "snapshot/snapshot.h"

#include <chrono>
#include <cstring>
#include <random>

#include "doctest/doctest.h"

using namespace xfilter;

namespace {

constexpr size_t kCount = 16'000;
constexpr uint64_t kMultiplier = 0xc6a4'a793'5bd1'e995;  // of MurmurHash64A, by which std::hash hashes

/// Names of 15 characters, as a process may give itself, that libstdc++ hashes alike: the first eight are
/// any, the last seven cancel what they make of the hash.
std::vector<std::string> namesOfOneHash() {
  std::mt19937_64 random(1);
  const auto hasZero = [](std::string_view name) { return name.find('\0') != std::string_view::npos; };
  std::vector<std::string> names;
  while (names.size() < kCount) {
    std::array<uint64_t, 2> words = {random(), 0};
    uint64_t mixed = words[0] * kMultiplier;
    mixed = (mixed ^ mixed >> 47) * kMultiplier;
    words[1] = ((0xc70f'6907 ^ 15 * kMultiplier ^ mixed) * kMultiplier) ^ 0x41'4243'4445'4647;
    if (words[1] >> 56 != 0) continue;
    std::string name(15, '\0');
    std::memcpy(name.data(), words.data(), name.size());
    if (!hasZero(name)) names.push_back(name);
  }
  return names;
}

std::chrono::nanoseconds timeToAdd(const std::vector<std::string>& names) {
  const auto start = std::chrono::steady_clock::now();
  StringTable strings;
  for (const std::string& name : names) strings.add(name);
  return std::chrono::steady_clock::now() - start;
}

}  // namespace

TEST_CASE("string table: a string is kept once, and has one number") {
  StringTable strings;
  CHECK(strings.add("a") == 0);
  CHECK(strings.add("") == 1);
  CHECK(strings.add("bc") == 2);
  CHECK(strings.add("a") == 0);
  CHECK(strings.bytes().size() == 3);
  CHECK(strings.ends() == std::vector<uint32_t>{1, 1, 3});
}

TEST_CASE("string table: a guest's users cannot make it slow by the names that they choose") {
  std::vector<std::string> usual;
  for (size_t i = 0; i < kCount; ++i) usual.push_back("process " + std::to_string(1'000'000 + i));
  const auto chosen = namesOfOneHash();
  if (std::hash<std::string>{}(chosen[0]) != std::hash<std::string>{}(chosen[1])) {
    MESSAGE("another standard library: these names are nothing special to it");
  }
  CHECK(timeToAdd(chosen) < timeToAdd(usual) * 50);
}
