#include "kernel/kallsyms_scan.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string_view>

// scripts/kallsyms.c writes the tables (kallsyms.cc says what is in them) in one piece of .rodata, each
// aligned to 8 bytes, or to 4 since 7.0 (a081b5789255):
//
//   until 6.3   addresses | offsets relative_base, num_syms names markers (seqs) token_table token_index
//   since 6.4   num_syms names markers token_table token_index, addresses | offsets (relative_base), seqs
//
//   markers     where each 256th symbol begins in names: u32; unsigned long before 4.20
//   seqs        3 bytes a symbol, in 6.2 (60443c88f3a8) and later
//
// A kernel has names with each of the ten digits, and a character that occurs is its own token, so the token
// table holds "0\0" "1\0" … "9\0". From there: the index, which must agree with the table in each of its 256
// entries; the markers, backward; the names, which must have two symbols just where the markers say;
// num_syms.

namespace xfilter {
namespace {

using namespace std::string_view_literals;

constexpr std::string_view kDigits = "0\0001\0002\0003\0004\0005\0006\0007\0008\0009\0"sv;
constexpr size_t kFirstDigit = '0';
constexpr size_t kTokenCount = 256;
constexpr size_t kIndexBytes = kTokenCount * sizeof(uint16_t);
constexpr size_t kMaxTokenTable = 64 << 10;  // its index has 16 bits

constexpr size_t kSymbolsPerMarker = 256;
constexpr size_t kMaxSymbols = size_t{4} << 20;
constexpr size_t kMaxMarkers = kMaxSymbols / kSymbolsPerMarker;
constexpr size_t kMaxRecord = 2 + 512;  // of a name: length, type, 511 characters
constexpr size_t kMaxMarkerStep = kSymbolsPerMarker * kMaxRecord;
constexpr size_t kMinMarkerStep = kSymbolsPerMarker * 2;
constexpr uint64_t kMaxNamesBytes = uint64_t{64} << 20;
constexpr size_t kSeqBytes = 3;
constexpr size_t kMaxAlignment = 8;

// Copies of the tables in a hostile guest must not cost more than a moment.
constexpr int kMaxDigitRuns = 4096;
constexpr int kMaxTokenTables = 8;
constexpr int kMaxMarkerRuns = 16;
constexpr size_t kMaxNameSteps = size_t{16} << 20;
constexpr size_t kMaxCandidates = 32;
// How much is searched before the budget is looked at.
constexpr size_t kPiece = size_t{4} << 20;

constexpr uint64_t alignUp(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) & ~(alignment - 1);
}
constexpr uint64_t alignDown(uint64_t value, uint64_t alignment) { return value & ~(alignment - 1); }

/// A copy of the guest's [start, start + bytes.size()): as far as it is mapped in one piece.
struct Window {
  VirtualAddress start;
  std::vector<uint8_t> bytes;

  VirtualAddress end() const { return start + bytes.size(); }

  template <class T>
  T at(size_t offset) const {
    T value;
    std::memcpy(&value, bytes.data() + offset, sizeof value);
    return value;
  }
};

/// From `start` on.
Window copyForward(KernelMemory& memory, VirtualAddress start, size_t size) {
  Window window{start, {}};
  while (window.bytes.size() < size) {
    const auto run = memory.view(window.end());
    if (run.empty()) break;
    const auto* first = reinterpret_cast<const uint8_t*>(run.data());
    window.bytes.insert(window.bytes.end(), first, first + std::min(run.size(), size - window.bytes.size()));
  }
  return window;
}

/// Up to `end`, so what is behind the last hole.
Window copyBackward(KernelMemory& memory, VirtualAddress end, size_t size) {
  VirtualAddress start = end;
  while (end.value - start.value < size) {
    const VirtualAddress page{alignDown(start.value - 1, kPageSize)};
    if (memory.view(page).empty()) break;
    start = page;
  }
  return copyForward(memory, start, end.value - start.value);
}

/// Calls `visit(address)` for each run of digit tokens in the mapped pages of [begin, end), until it says
/// false.
template <class Visit>
void forEachDigitRun(KernelMemory& memory, VirtualAddress begin, VirtualAddress end, Budget& budget,
                     Visit visit) {
  // The last bytes of a piece of host memory and the first ones of the next: where a run may lie across.
  std::string seam;
  VirtualAddress seamEnd = begin;

  const auto search = [&](std::string_view text, VirtualAddress address) {
    // memmem, because it looks at pairs of bytes: a search by single ones crawls through a kernel's many
    // zeros.
    for (size_t at = 0; at < text.size(); ++at) {
      const void* hit = memmem(text.data() + at, text.size() - at, kDigits.data(), kDigits.size());
      if (!hit) return true;
      at = static_cast<size_t>(static_cast<const char*>(hit) - text.data());
      if (!visit(address + at)) return false;
    }
    return true;
  };

  for (VirtualAddress address = begin; address < end && budget.spend();) {
    const auto run = memory.view(address);
    if (run.empty()) {
      address = VirtualAddress{alignDown(address.value, kPageSize)} + kPageSize;
      if (address.value == 0) return;
      continue;
    }
    if (!budget.spendLong()) return;
    // Pages that follow each other in the host's memory too are one piece.
    size_t size = run.size();
    while (size < kPiece && size < end.value - address.value) {
      const auto next = memory.view(address + size);
      if (next.empty() || next.data() != run.data() + size) break;
      size += next.size();
    }
    const std::string_view text(reinterpret_cast<const char*>(run.data()),
                                std::min<uint64_t>(size, end.value - address.value));

    const size_t edge = std::min(text.size(), kDigits.size() - 1);
    if (seamEnd == address && !seam.empty()) {
      const VirtualAddress seamStart = seamEnd - seam.size();
      seam.append(text.substr(0, edge));
      if (!search(seam, seamStart)) return;
    }
    if (!search(text, address)) return;
    address = address + text.size();
    seam.assign(text.substr(text.size() - edge));
    seamEnd = address;
  }
}

struct TokenTable {
  VirtualAddress table;
  VirtualAddress index;
};

/// The token table around a run of digits, if its index follows and agrees.
std::optional<TokenTable> findTokenTable(KernelMemory& memory, VirtualAddress digits) {
  const Window window = copyForward(memory, digits, kMaxTokenTable + kMaxAlignment + kIndexBytes);
  std::array<size_t, kTokenCount + 1> starts;  // relative to the digits
  size_t position = 0;
  for (size_t i = kFirstDigit; i < kTokenCount; ++i) {
    starts[i] = position;
    const auto nul = std::find(window.bytes.begin() + position, window.bytes.end(), 0);
    if (nul == window.bytes.end()) return std::nullopt;
    position = static_cast<size_t>(nul - window.bytes.begin()) + 1;
  }
  const VirtualAddress tableEnd = digits + position;

  for (const uint64_t alignment : {8, 4}) {
    const VirtualAddress index{alignUp(tableEnd.value, alignment)};
    const size_t indexOffset = index.value - digits.value;
    if (indexOffset + kIndexBytes > window.bytes.size()) continue;
    const auto entry = [&](size_t i) { return window.at<uint16_t>(indexOffset + i * sizeof(uint16_t)); };

    const size_t before = entry(kFirstDigit);  // bytes of the tokens in front of the digits
    bool agrees = entry(0) == 0;
    for (size_t i = kFirstDigit; i < kTokenCount && agrees; ++i) agrees = entry(i) == before + starts[i];
    if (!agrees) continue;

    const VirtualAddress table = digits - before;
    const Window head = copyForward(memory, table, before);
    if (head.bytes.size() != before) continue;
    for (size_t i = 1; i <= kFirstDigit && agrees; ++i) {
      const size_t from = entry(i - 1);
      const size_t to = entry(i);
      agrees =
          from < to && to <= before &&
          std::find(head.bytes.begin() + from, head.bytes.begin() + to, 0) == head.bytes.begin() + (to - 1);
    }
    if (agrees) return TokenTable{table, index};
  }
  return std::nullopt;
}

struct Markers {
  VirtualAddress start;
  size_t count = 0;
  uint64_t second = 0;  // where the symbol 256 begins
  uint64_t last = 0;    // where the last 1 to 256 symbols begin
};

/// Calls `visit(markers)` for the markers that begin at `offset`, if they end where the token table begins,
/// or with the seqs between; more than once where padding leaves open how many there are. Until it says true.
template <class Marker, class Visit>
bool visitMarkersAt(const Window& window, size_t offset, Visit visit) {
  const size_t limit = std::min((window.bytes.size() - offset) / sizeof(Marker), kMaxMarkers);
  Markers markers{window.start + offset, 1, 0, 0};
  for (; markers.count < limit; ++markers.count) {
    const uint64_t marker = window.at<Marker>(offset + markers.count * sizeof(Marker));
    if (marker < markers.last + kMinMarkerStep || marker > markers.last + kMaxMarkerStep) return false;
    if (marker > kMaxNamesBytes) return false;
    if (markers.count == 1) markers.second = marker;
    markers.last = marker;

    const size_t count = markers.count + 1;
    const size_t behind = window.bytes.size() - offset - count * sizeof(Marker);
    const size_t mostSeqs = kSeqBytes * kSymbolsPerMarker * count;
    const size_t leastSeqs = mostSeqs - kSeqBytes * (kSymbolsPerMarker - 1);
    if (behind >= kMaxAlignment && (behind < leastSeqs || behind >= mostSeqs + 2 * kMaxAlignment)) continue;
    if (visit(Markers{markers.start, count, markers.second, markers.last})) return true;
  }
  return false;
}

/// Calls `visit(markers)` for each array that may be the markers of the token table, until it says true.
template <class Visit>
void forEachMarkers(KernelMemory& memory, VirtualAddress tokenTable, Visit visit) {
  int visits = 0;
  const auto limited = [&](const Markers& markers) { return visit(markers) || ++visits == kMaxMarkerRuns; };

  // Without seqs they lie just before it; with them, 3 bytes a symbol away.
  size_t seen = 0;
  for (const size_t reach : {size_t{1} << 17, size_t{1} << 20, kMaxSymbols * (kSeqBytes + 1)}) {
    const Window window = copyBackward(memory, tokenTable, reach);
    if (window.bytes.size() <= seen) return;
    for (size_t back = alignDown(seen, 4) + 8; back <= window.bytes.size(); back += 4) {
      const size_t offset = window.bytes.size() - back;
      if (window.at<uint32_t>(offset) != 0) continue;
      if (visitMarkersAt<uint32_t>(window, offset, limited)) return;
      if (visitMarkersAt<uint64_t>(window, offset, limited)) return;
    }
    if (window.bytes.size() < reach) return;
    seen = reach;
  }
}

/// How a length is written: in one byte, or in two if bit 7 of the first is set.
enum class Lengths { kOneByte, kUleb128 };

/// Where `count` symbols end that begin at `position`. `steps` is what the whole scan has left.
std::optional<size_t> skipNames(const Window& window, size_t position, size_t count, Lengths lengths,
                                size_t& steps) {
  for (size_t i = 0; i < count; ++i) {
    if (steps == 0 || position + 2 > window.bytes.size()) return std::nullopt;
    --steps;
    size_t length = window.bytes[position++];
    if (lengths == Lengths::kUleb128 && (length & 0x80)) {
      length = (length & 0x7f) | size_t{window.bytes[position++]} << 7;
    }
    if (length == 0 || length > kMaxRecord) return std::nullopt;
    position += length;
  }
  return position <= window.bytes.size() ? std::optional(position) : std::nullopt;
}

struct Names {
  VirtualAddress start;
  VirtualAddress numSyms;
  size_t count = 0;
};

/// The names before the markers. Their begin is not known, as the last marker has 1 to 256 symbols behind it:
/// for each place in question the number before it must agree with the count of markers, and the symbols with
/// the first and the last marker.
std::optional<Names> findNames(KernelMemory& memory, const Markers& markers, size_t& steps) {
  const VirtualAddress latest{alignDown(markers.start.value - markers.last - 2, 4)};
  const VirtualAddress earliest = markers.start - markers.last - kMaxMarkerStep - kMaxAlignment;
  const Window tail = copyBackward(memory, markers.start, kMaxMarkerStep + 2 * kMaxAlignment);
  const Window head =
      copyBackward(memory, latest + markers.second, latest.value - earliest.value + markers.second);

  for (VirtualAddress start = latest; start >= earliest && start.value >= head.start.value + 4;
       start = start - 4) {
    const size_t offset = start.value - head.start.value;
    for (const size_t before : {8, 4}) {  // num_syms, padded to the alignment
      if (offset < before) continue;
      const size_t count = head.at<uint32_t>(offset - before);
      if (count == 0 || (count - 1) / kSymbolsPerMarker + 1 != markers.count) continue;
      if (before == 8 && head.at<uint32_t>(offset - 4) != 0) continue;

      const VirtualAddress lastPart = start + markers.last;
      if (lastPart < tail.start) continue;
      const size_t rest = count - (markers.count - 1) * kSymbolsPerMarker;
      for (const Lengths lengths : {Lengths::kUleb128, Lengths::kOneByte}) {
        if (skipNames(head, offset, kSymbolsPerMarker, lengths, steps) != offset + markers.second) continue;
        const auto end = skipNames(tail, lastPart.value - tail.start.value, rest, lengths, steps);
        if (end && tail.bytes.size() - *end < kMaxAlignment) return Names{start, start - before, count};
      }
    }
  }
  return std::nullopt;
}

bool isKernelHalf(uint64_t address) { return address >> 63; }

/// The places where the addresses can be. Whether they are there is load()'s to say; here only the likely go
/// first.
void appendCandidates(KernelMemory& memory, const TokenTable& tokens, const Names& names,
                      std::vector<KallsymsTables>& candidates) {
  const KallsymsTables common{names.numSyms, names.start, tokens.table, tokens.index, {}, {}, {}};
  const uint64_t offsetsBytes = names.count * sizeof(uint32_t);
  const VirtualAddress behind = tokens.index + kIndexBytes;

  KallsymsTables since64 = common;
  since64.offsets = behind;
  since64.relativeBase = VirtualAddress{alignUp(behind.value + offsetsBytes, 8)};
  KallsymsTables until63 = common;
  until63.relativeBase = names.numSyms - 8;
  until63.offsets = *until63.relativeBase - alignUp(offsetsBytes, 8);
  KallsymsTables placeRelative = common;
  placeRelative.offsets = behind;
  KallsymsTables absoluteBefore = common;
  absoluteBefore.addresses = names.numSyms - names.count * sizeof(uint64_t);
  KallsymsTables absoluteBehind = common;
  absoluteBehind.addresses = behind;

  for (const KallsymsTables& tables : {until63, since64}) {
    const auto base = memory.read<uint64_t>(*tables.relativeBase);
    if (base && isKernelHalf(*base)) candidates.push_back(tables);
  }
  for (const KallsymsTables& tables : {placeRelative, absoluteBefore, absoluteBehind})
    candidates.push_back(tables);
}

}  // namespace

std::vector<KallsymsTables> scanForKallsyms(KernelMemory& memory, VirtualAddress begin, VirtualAddress end,
                                            Budget& budget) {
  std::vector<KallsymsTables> candidates;
  int digitRuns = 0;
  int tokenTables = 0;
  size_t nameSteps = kMaxNameSteps;
  forEachDigitRun(memory, begin, end, budget, [&](VirtualAddress digits) {
    if (++digitRuns > kMaxDigitRuns || tokenTables == kMaxTokenTables || !budget.spendLong()) return false;
    const auto tokens = findTokenTable(memory, digits);
    if (!tokens) return true;
    ++tokenTables;
    forEachMarkers(memory, tokens->table, [&](const Markers& markers) {
      const auto names = findNames(memory, markers, nameSteps);
      if (names) appendCandidates(memory, *tokens, *names, candidates);
      return names.has_value() || !budget.spendLong();
    });
    return candidates.size() < kMaxCandidates;
  });
  return candidates;
}

}  // namespace xfilter
