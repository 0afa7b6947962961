#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string_view>

namespace xfilter {

/// A hash of strings that a guest chooses: a polynomial over the field of 2^61 - 1 at a random point, at
/// which two strings of n characters meet with a probability of n / 2^61, whatever they are.
class KeyedHash {
 public:
  uint64_t operator()(std::string_view text) const {
    uint64_t hash = text.size();
    for (size_t at = 0; at < text.size(); at += kChunk) {
      uint64_t chunk = 0;
      std::memcpy(&chunk, text.data() + at, std::min(kChunk, text.size() - at));
      hash = modulo(static_cast<Wide>(hash) * key_ + chunk);
    }
    return modulo(static_cast<Wide>(hash) * key_);
  }

 private:
  __extension__ using Wide = unsigned __int128;
  static constexpr uint64_t kPrime = (uint64_t{1} << 61) - 1;
  static constexpr size_t kChunk = 7;  // bytes: less than the prime

  static uint64_t modulo(Wide value) {
    const uint64_t folded = (static_cast<uint64_t>(value) & kPrime) + static_cast<uint64_t>(value >> 61);
    return folded >= kPrime ? folded - kPrime : folded;
  }

  /// One a process, as a key costs a system call.
  static uint64_t randomKey() {
    static const uint64_t key =
        (uint64_t{std::random_device{}()} << 32 | std::random_device{}()) % (kPrime - 2) + 2;
    return key;
  }

  uint64_t key_ = randomKey();
};

}  // namespace xfilter
