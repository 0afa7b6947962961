#include "kernel/kallsyms.h"

#include <algorithm>
#include <bitset>
#include <cstring>
#include <unordered_map>
#include <utility>

// The tables that scripts/kallsyms.c writes into the kernel's .rodata, which differ from release to release:
//
//   num_syms      u32, little-endian; unsigned long before 4.20, whose lower half is the same
//   names         a record a symbol, by ascending address:
//                   length     bytes of `compressed`: one byte; since 6.1 two (ULEB128) if bit 7 is set
//                              (73bbb94466fd, "kallsyms: support "big" kernel symbols")
//                   compressed each byte an index into the tokens; the first character that comes out is nm's
//                              type, the others are the name
//   token_table   256 tokens, NUL-terminated
//   token_index   256 x u16, where each token starts in token_table
//
// and one of these, an entry a symbol:
//
//   addresses     unsigned long; all kernels before 4.6, a choice until 6.11
//   offsets       u32, with relative_base (unsigned long) the lowest address, since 4.6:
//                   base-relative          relative_base + offset
//                   base-relative per-CPU  x86_64 SMP until 6.14, where per-CPU symbols count from zero:
//                                          an offset >= 0 is the address, one < 0 is relative_base - 1 -
//                                          offset
//                   place-relative         since 7.0 (a081b5789255): the offset's own address + offset
//
// Nothing says which of them a kernel uses, so every combination is tried until a symbol whose address is
// known decodes to it.

namespace xfilter {
namespace {

constexpr uint32_t kMaxSymbols = 4U << 20;           // distributions' kernels have 80,000 to 250,000
constexpr size_t kMaxNamesBytes = size_t{64} << 20;  // those need 1 to 4 MB
constexpr size_t kUsualRecord = 16;                  // bytes, to reserve; 9 to 13 on average
constexpr size_t kMaxNameLength = 511;               // KSYM_NAME_LEN - 1, since 6.1; 127 before
constexpr size_t kTokenCount = 256;
constexpr const char* kAdvice =
    "The kernel must be built with CONFIG_KALLSYMS and CONFIG_KALLSYMS_ALL, as distributions' kernels are.";

bool isNumberSuffix(std::string_view suffix) {
  return !suffix.empty() &&
         std::all_of(suffix.begin(), suffix.end(), [](char c) { return c >= '0' && c <= '9'; });
}

/// Most symbols are told from those wanted by the first characters of the name. (`name.NN` is found for
/// names of at least as many.)
constexpr size_t kStart = 4;

/// They are packed with the type in front, the first one lowest, and hashed without it.
uint16_t hashOfStart(uint64_t packed) {
  const uint64_t start = packed >> 8 & 0xffff'ffff;
  return static_cast<uint16_t>(start * 0x9e37'79b9'7f4a'7c15 >> 48);
}

uint16_t hashOfStart(std::string_view name) {
  uint64_t packed = 0;
  for (size_t i = 0; i < std::min(name.size(), kStart); ++i) {
    packed |= uint64_t{static_cast<uint8_t>(name[i])} << (8 * (i + 1));
  }
  return hashOfStart(packed);
}

}  // namespace

/// The names table as far as it has been looked at. Its size is in no variable, so it grows with the parsing.
class Kallsyms::NameCopy {
 public:
  /// Appends to `bytes`, which is empty.
  NameCopy(KernelMemory& memory, VirtualAddress start, std::vector<uint8_t>& bytes)
      : memory_(memory), start_(start), bytes_(bytes) {}

  /// Whether there are `size` bytes; copies them if need be.
  bool reach(size_t size) {
    while (bytes_.size() < size) {
      if (bytes_.size() >= kMaxNamesBytes) return false;
      const auto run = memory_.view(start_ + bytes_.size());
      if (run.empty()) return false;
      const auto* first = reinterpret_cast<const uint8_t*>(run.data());
      bytes_.insert(bytes_.end(), first, first + std::min(run.size(), kChunk));
    }
    return true;
  }
  uint8_t operator[](size_t i) const { return bytes_[i]; }

 private:
  static constexpr size_t kChunk = size_t{256} << 10;

  KernelMemory& memory_;
  VirtualAddress start_;
  std::vector<uint8_t>& bytes_;
};

Result<Kallsyms> Kallsyms::load(KernelMemory& memory, const KallsymsTables& tables,
                                const KnownSymbol& known) {
  Kallsyms symbols;
  symbols.count_ = memory.read<uint32_t>(tables.numSyms).value_or(0);
  if (symbols.count_ == 0 || symbols.count_ > kMaxSymbols) {
    return failure("SYMBOLS_NOT_FOUND",
                   "The guest's kallsyms claim " + std::to_string(symbols.count_) + " symbols.", kAdvice);
  }
  if (!symbols.copyTokens(memory, tables)) {
    return failure("SYMBOLS_NOT_FOUND", "The guest's kallsyms token table does not agree with its index.",
                   kAdvice);
  }
  if (!symbols.copyAddresses(memory, tables)) {
    return failure("SYMBOLS_NOT_FOUND", "The addresses of the guest's kallsyms are not in its memory.",
                   kAdvice);
  }

  symbols.names_.reserve(symbols.count_ * kUsualRecord);
  NameCopy names(memory, tables.names, symbols.names_);
  bool parsed = false;
  bool named = false;
  for (const Lengths lengths : {Lengths::kUleb128, Lengths::kOneByte}) {
    if (!parseNames(names, symbols.count_, lengths)) continue;
    parsed = true;
    symbols.lengths_ = lengths;
    const auto index = symbols.locate(std::span(&known.name, 1)).front();
    if (!index) continue;
    named = true;
    if (symbols.chooseEncoding(*index, known.address)) return symbols;
  }
  const char* reason = named    ? " none of the known encodings gives the address of "
                       : parsed ? " there is none with the name "
                                : " their names do not parse; looked for ";
  return failure("SYMBOLS_NOT_FOUND",
                 "The guest's kallsyms hold " + std::to_string(symbols.count_) + " symbols, but" + reason +
                     std::string(known.name) + ".",
                 kAdvice);
}

bool Kallsyms::copyTokens(KernelMemory& memory, const KallsymsTables& tables) {
  std::array<uint16_t, kTokenCount> index;
  if (!memory.read(tables.tokenIndex, index.data(), sizeof index)) return false;

  // The last token's end is not known: read on as far as one can reach, or as there is memory.
  const size_t limit = *std::max_element(index.begin(), index.end()) + kMaxNameLength + 1;
  while (tokenText_.size() < limit) {
    const auto run = memory.view(tables.tokenTable + tokenText_.size());
    if (run.empty()) break;
    tokenText_.append(reinterpret_cast<const char*>(run.data()),
                      std::min(run.size(), limit - tokenText_.size()));
  }
  for (size_t i = 0; i < kTokenCount; ++i) {
    const size_t end = tokenText_.find('\0', index[i]);
    if (end == std::string::npos || end - index[i] > kMaxNameLength) return false;
    Token& token = tokens_[i];
    token.offset = index[i];
    token.length = static_cast<uint16_t>(end - index[i]);
    for (size_t c = 0; c < std::min<size_t>(token.length, sizeof token.start); ++c) {
      token.start |= uint64_t{static_cast<uint8_t>(tokenText_[token.offset + c])} << (8 * c);
    }
  }
  return true;
}

bool Kallsyms::copyAddresses(KernelMemory& memory, const KallsymsTables& tables) {
  if (tables.offsets) {
    offsets_.resize(count_);
    place_ = *tables.offsets;
    if (!memory.read(*tables.offsets, offsets_.data(), offsets_.size() * sizeof offsets_[0]))
      offsets_.clear();
  }
  if (tables.relativeBase) relativeBase_ = memory.read<uint64_t>(*tables.relativeBase);
  if (tables.addresses) {
    addresses_.resize(count_);
    if (!memory.read(*tables.addresses, addresses_.data(), addresses_.size() * sizeof addresses_[0])) {
      addresses_.clear();
    }
  }
  return !offsets_.empty() || !addresses_.empty();
}

bool Kallsyms::parseNames(NameCopy& names, uint32_t count, Lengths lengths) {
  size_t position = 0;
  for (uint32_t i = 0; i < count; ++i) {
    if (!names.reach(position + 2)) return false;
    size_t length = names[position++];
    if (lengths == Lengths::kUleb128 && (length & 0x80)) {
      length = (length & 0x7f) | size_t{names[position++]} << 7;
    }
    // A symbol has at least its type, and at most as many tokens as characters.
    if (length == 0 || length > kMaxNameLength + 1) return false;
    position += length;
  }
  return names.reach(position);
}

bool Kallsyms::chooseEncoding(uint32_t symbol, VirtualAddress address) {
  for (const Encoding encoding :
       {Encoding::kBaseRelative, Encoding::kPerCpu, Encoding::kPlaceRelative, Encoding::kAbsolute}) {
    const bool possible = encoding == Encoding::kAbsolute ? !addresses_.empty()
                          : encoding == Encoding::kPlaceRelative
                              ? !offsets_.empty()
                              : !offsets_.empty() && relativeBase_.has_value();
    if (possible && addressOf(symbol, encoding) == address) {
      encoding_ = encoding;
      return true;
    }
  }
  return false;
}

VirtualAddress Kallsyms::addressOf(uint32_t symbol, Encoding encoding) const {
  if (encoding == Encoding::kAbsolute) return {addresses_[symbol]};
  const uint32_t offset = offsets_[symbol];
  const uint64_t extended = static_cast<uint64_t>(int64_t{static_cast<int32_t>(offset)});
  switch (encoding) {
    case Encoding::kPerCpu:
      return static_cast<int32_t>(offset) >= 0 ? VirtualAddress{offset}
                                               : VirtualAddress{*relativeBase_ - 1 - extended};
    case Encoding::kPlaceRelative:
      return place_ + uint64_t{symbol} * sizeof offset + extended;
    default:
      return {*relativeBase_ + offset};
  }
}

std::vector<std::optional<VirtualAddress>> Kallsyms::find(std::span<const std::string_view> names) const {
  std::vector<std::optional<VirtualAddress>> addresses(names.size());
  const auto indices = locate(names);
  for (size_t i = 0; i < names.size(); ++i) {
    if (indices[i]) addresses[i] = addressOf(*indices[i], encoding_);
  }
  return addresses;
}

// Most of the symbols are dismissed by the first characters of their first tokens; only the rest is expanded.
std::vector<std::optional<uint32_t>> Kallsyms::locate(std::span<const std::string_view> names) const {
  struct Wanted {
    std::optional<uint32_t> exact;
    std::optional<uint32_t> numbered;
  };
  std::unordered_map<std::string_view, Wanted> wanted;
  std::bitset<1 << 16> starts;
  for (const std::string_view name : names) {
    wanted.try_emplace(name);
    starts.set(hashOfStart(name));
  }

  size_t missing = wanted.size();
  const uint8_t* record = names_.data();
  std::array<char, kMaxNameLength + 1> buffer;
  for (uint32_t i = 0; i < count_ && missing > 0; ++i) {
    size_t length = *record++;
    if (lengths_ == Lengths::kUleb128 && (length & 0x80)) length = (length & 0x7f) | size_t{*record++} << 7;
    const std::span<const uint8_t> compressed(record, length);
    record += length;

    uint64_t start = 0;
    for (size_t at = 0, token = 0; token < length && at <= kStart; ++token) {
      start |= tokens_[compressed[token]].start << (8 * at);
      at += tokens_[compressed[token]].length;
    }
    if (!starts.test(hashOfStart(start))) continue;

    const std::string_view name = expand(compressed, buffer);
    if (name.empty()) continue;
    const auto found = wanted.find(name);
    if (found != wanted.end() && !found->second.exact) {
      found->second.exact = i;
      --missing;
    }
    const size_t dot = name.rfind('.');
    if (dot == std::string_view::npos || !isNumberSuffix(name.substr(dot + 1))) continue;
    const auto stem = wanted.find(name.substr(0, dot));
    if (stem != wanted.end() && !stem->second.numbered) stem->second.numbered = i;
  }

  std::vector<std::optional<uint32_t>> indices;
  indices.reserve(names.size());
  for (const std::string_view name : names) {
    const Wanted& result = wanted.find(name)->second;
    indices.push_back(result.exact ? result.exact : result.numbered);
  }
  return indices;
}

/// The name without its type; empty if it is longer than any kernel's.
std::string_view Kallsyms::expand(std::span<const uint8_t> compressed, std::span<char> buffer) const {
  size_t size = 0;
  for (const uint8_t byte : compressed) {
    const Token& token = tokens_[byte];
    if (token.length > buffer.size() - size) return {};
    std::memcpy(buffer.data() + size, tokenText_.data() + token.offset, token.length);
    size += token.length;
  }
  return size > 1 ? std::string_view(buffer.data() + 1, size - 1) : std::string_view();
}

std::string_view Kallsyms::encoding() const {
  switch (encoding_) {
    case Encoding::kPerCpu:
      return "base-relative per-CPU";
    case Encoding::kPlaceRelative:
      return "place-relative";
    case Encoding::kAbsolute:
      return "absolute";
    default:
      return "base-relative";
  }
}

}  // namespace xfilter
