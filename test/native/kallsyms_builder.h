#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "fake_memory.h"
#include "kernel/kallsyms.h"

namespace xfilter::test {

struct FakeSymbol {
  char type;
  std::string name;
  uint64_t address;
};

enum class AddressEncoding { kAbsolute, kBaseRelative, kPerCpu, kPlaceRelative };

/// What scripts/kallsyms.c does in a release, as far as it can be seen in the tables.
struct KallsymsStyle {
  const char* release;
  AddressEncoding encoding;
  bool addressesFirst;   // before num_syms (until 6.3), or behind the token index
  size_t longBytes;      // of num_syms and a marker: 8 before 4.20
  bool twoByteLengths;   // since 6.1
  bool seqsInTheMiddle;  // 6.2 and 6.3: between markers and token table
  size_t alignment;
};

inline constexpr KallsymsStyle kLinux4_4{"4.4", AddressEncoding::kAbsolute, true, 8, false, false, 8};
inline constexpr KallsymsStyle kLinux4_14{"4.14", AddressEncoding::kPerCpu, true, 8, false, false, 8};
inline constexpr KallsymsStyle kLinux5_10{"5.10", AddressEncoding::kPerCpu, true, 4, false, false, 8};
inline constexpr KallsymsStyle kLinux6_1{"6.1", AddressEncoding::kPerCpu, true, 4, true, false, 8};
inline constexpr KallsymsStyle kLinux6_2{"6.2", AddressEncoding::kPerCpu, true, 4, true, true, 8};
inline constexpr KallsymsStyle kLinux6_6{"6.6", AddressEncoding::kPerCpu, false, 4, true, false, 8};
inline constexpr KallsymsStyle kLinux6_8Absolute{
    "6.8, absolute", AddressEncoding::kAbsolute, false, 4, true, false, 8};
inline constexpr KallsymsStyle kLinux6_15{"6.15", AddressEncoding::kBaseRelative, false, 4, true, false, 8};
inline constexpr KallsymsStyle kLinux7_0{"7.0", AddressEncoding::kPlaceRelative, false, 4, true, false, 4};

inline constexpr std::array kAllStyles = {kLinux4_4, kLinux4_14,        kLinux5_10, kLinux6_1, kLinux6_2,
                                          kLinux6_6, kLinux6_8Absolute, kLinux6_15, kLinux7_0};

/// The tables as they lie in the guest at `start`, and where each of them is.
struct KallsymsImage {
  VirtualAddress start;
  std::vector<std::byte> bytes;
  KallsymsTables tables;
};

/// A small scripts/kallsyms: give it symbols, get the tables of a release.
class KallsymsBuilder {
 public:
  explicit KallsymsBuilder(std::vector<FakeSymbol> symbols) : symbols_(std::move(symbols)) {
    std::stable_sort(symbols_.begin(), symbols_.end(),
                     [](const FakeSymbol& a, const FakeSymbol& b) { return a.address < b.address; });
    for (const FakeSymbol& symbol : symbols_) compressed_.push_back(symbol.type + symbol.name);
    compress();
  }

  KallsymsImage build(const KallsymsStyle& style, VirtualAddress start) const {
    KallsymsImage image{start, {}, {}};
    const auto label = [&] {
      while (image.bytes.size() % style.alignment) image.bytes.push_back({});
      return start + image.bytes.size();
    };
    if (style.addressesFirst) appendAddresses(image, style, label);

    image.tables.numSyms = label();
    append(image, symbols_.size(), style.longBytes);

    image.tables.names = label();
    std::vector<size_t> markers;
    for (size_t i = 0; i < compressed_.size(); ++i) {
      const std::string& name = compressed_[i];
      if (i % 256 == 0) markers.push_back(image.bytes.size() - (image.tables.names.value - start.value));
      if (style.twoByteLengths && name.size() > 0x7f) {
        append(image, (name.size() & 0x7f) | 0x80, 1);
        append(image, name.size() >> 7, 1);
      } else {
        append(image, name.size(), 1);
      }
      append(image, name);
    }

    label();
    for (const size_t marker : markers) append(image, marker, style.longBytes);
    if (style.seqsInTheMiddle) appendSeqs(image, label);

    image.tables.tokenTable = label();
    std::array<size_t, 256> index{};
    size_t offset = 0;
    for (size_t i = 0; i < tokens_.size(); ++i) {
      index[i] = offset;
      append(image, tokens_[i] + '\0');
      offset += tokens_[i].size() + 1;
    }
    image.tables.tokenIndex = label();
    for (const size_t at : index) append(image, at, 2);

    if (!style.addressesFirst) {
      appendAddresses(image, style, label);
      appendSeqs(image, label);
    }
    return image;
  }

  const std::vector<FakeSymbol>& symbols() const { return symbols_; }

 private:
  static void append(KallsymsImage& image, uint64_t value, size_t size) {
    const auto bytes = std::as_bytes(std::span(&value, 1)).first(size);
    image.bytes.insert(image.bytes.end(), bytes.begin(), bytes.end());
  }
  static void append(KallsymsImage& image, const std::string& text) {
    const auto bytes = bytesOf(text);
    image.bytes.insert(image.bytes.end(), bytes.begin(), bytes.end());
  }
  template <class Label>
  void appendSeqs(KallsymsImage& image, Label label) const {
    label();
    for (size_t i = 0; i < symbols_.size(); ++i) append(image, (i & 0xff) << 16 | (i & 0xff00) | i >> 16, 3);
  }

  template <class Label>
  void appendAddresses(KallsymsImage& image, const KallsymsStyle& style, Label label) const {
    const VirtualAddress table = label();
    if (style.encoding == AddressEncoding::kAbsolute) {
      image.tables.addresses = table;
      for (const FakeSymbol& symbol : symbols_) append(image, symbol.address, 8);
      return;
    }
    image.tables.offsets = table;
    const uint64_t base = relativeBase();
    for (const FakeSymbol& symbol : symbols_) {
      const uint64_t place = image.start.value + image.bytes.size();
      switch (style.encoding) {
        case AddressEncoding::kPerCpu:
          append(image, isPerCpu(symbol) ? symbol.address : base - 1 - symbol.address, 4);
          break;
        case AddressEncoding::kPlaceRelative:
          append(image, symbol.address - place, 4);
          break;
        default:
          append(image, symbol.address - base, 4);
      }
    }
    if (style.encoding == AddressEncoding::kPlaceRelative) return;
    image.tables.relativeBase = label();
    append(image, base, 8);
  }

  /// Until 6.14 x86_64's per-CPU symbols count from zero.
  static bool isPerCpu(const FakeSymbol& symbol) { return symbol.address >> 63 == 0; }
  uint64_t relativeBase() const {
    for (const FakeSymbol& symbol : symbols_) {
      if (!isPerCpu(symbol)) return symbol.address;
    }
    return 0;
  }

  /// Like the kernel's: a character that occurs is its own token; each slot left over takes the pair of
  /// tokens that is the most frequent.
  void compress() {
    std::array<bool, 256> used{};
    for (const std::string& name : compressed_) {
      for (const char c : name) used[static_cast<uint8_t>(c)] = true;
    }
    for (size_t i = 0; i < used.size(); ++i) {
      if (used[i]) tokens_[i] = std::string(1, static_cast<char>(i));
    }
    std::vector<uint32_t> profit(1 << 16);
    for (size_t slot = used.size(); slot-- > 0;) {
      if (used[slot]) continue;
      std::fill(profit.begin(), profit.end(), 0);
      for (const std::string& name : compressed_) {
        for (size_t i = 0; i + 1 < name.size(); ++i) ++profit[pairAt(name, i)];
      }
      const auto best = std::max_element(profit.begin(), profit.end());
      if (*best == 0) break;
      const auto pair = static_cast<size_t>(best - profit.begin());
      tokens_[slot] = tokens_[pair >> 8] + tokens_[pair & 0xff];
      for (std::string& name : compressed_) replace(name, pair, static_cast<char>(slot));
    }
  }
  static size_t pairAt(const std::string& name, size_t i) {
    return static_cast<size_t>(static_cast<uint8_t>(name[i])) << 8 | static_cast<uint8_t>(name[i + 1]);
  }
  static void replace(std::string& name, size_t pair, char slot) {
    size_t to = 0;
    for (size_t i = 0; i < name.size(); ++i) {
      const bool hit = i + 1 < name.size() && pairAt(name, i) == pair;
      name[to++] = hit ? slot : name[i];
      if (hit) ++i;
    }
    name.resize(to);
  }

  std::vector<FakeSymbol> symbols_;
  std::vector<std::string> compressed_;
  std::array<std::string, 256> tokens_;
};

/// As many symbols as asked for, with names like a kernel's: 64 of them per-CPU, `_stext` the lowest other
/// one. The same ones each time.
inline std::vector<FakeSymbol> kernelSymbols(size_t count, uint64_t text = 0xffffffff81000000) {
  constexpr std::array<std::string_view, 24> kWords = {
      "tcp",  "udp",  "inet", "sock",  "task", "file",  "ext4", "xfs",    "get",   "put",    "alloc", "free",
      "init", "exit", "show", "store", "read", "write", "lock", "unlock", "queue", "x86_64", "pci",   "__do"};
  std::vector<FakeSymbol> symbols = {{'T', "_stext", text}};
  uint32_t random = 1;
  const auto next = [&random](uint32_t limit) {
    return (random = random * 1664525 + 1013904223) / 65536 % limit;
  };
  uint64_t address = text;
  for (size_t i = 1; i < count; ++i) {
    std::string name;
    for (uint32_t words = 2 + next(3); words > 0; --words) {
      name += std::string(kWords[next(kWords.size())]) + (words > 1 ? "_" : "");
    }
    name += '_';
    name += std::to_string(i);
    if (i <= 64 && i < count / 2) {
      symbols.push_back({'A', "percpu_" + name, uint64_t{i} * 64});
    } else {
      symbols.push_back({"tTdDbBrR"[next(8)], name, address += 16 + next(200)});
    }
  }
  return symbols;
}

}  // namespace xfilter::test
