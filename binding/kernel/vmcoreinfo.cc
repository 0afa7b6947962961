#include "kernel/vmcoreinfo.h"

#include <algorithm>
#include <charconv>
#include <cstring>

namespace xfilter {
namespace {

constexpr std::string_view kFirstKey = "OSRELEASE=";
// The kernel's buffer is one page; the note of a dump holds the same.
constexpr size_t kMaxSize = kPageSize;
// How much is scanned before the source is told that it may let go of it.
constexpr uint64_t kScanChunk = 64 << 20;

bool isTextByte(char c) { return c == '\n' || (c >= 0x20 && c < 0x7f); }

template <class T>
std::optional<T> parseNumber(std::string_view digits, int base) {
  T value{};
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

}  // namespace

std::optional<Vmcoreinfo> Vmcoreinfo::parse(std::string_view text) {
  text = text.substr(0, kMaxSize);
  if (!text.starts_with(kFirstKey)) return std::nullopt;
  text = text.substr(0, std::find_if_not(text.begin(), text.end(), isTextByte) - text.begin());
  const size_t lastLine = text.rfind('\n');
  if (lastLine == std::string_view::npos) return std::nullopt;
  Vmcoreinfo info(std::string(text.substr(0, lastLine + 1)));
  if (info.release().empty() || !info.symbol("swapper_pg_dir")) return std::nullopt;
  return info;
}

std::string_view Vmcoreinfo::value(std::string_view key) const {
  std::string_view rest = text_;
  while (!rest.empty()) {
    const size_t end = rest.find('\n');
    const std::string_view line = rest.substr(0, end);
    if (line.size() > key.size() && line.starts_with(key) && line[key.size()] == '=') {
      return line.substr(key.size() + 1);
    }
    rest.remove_prefix(end + 1);
  }
  return {};
}

std::string_view Vmcoreinfo::release() const { return value("OSRELEASE"); }

std::optional<VirtualAddress> Vmcoreinfo::symbol(std::string_view name) const {
  const auto address = parseNumber<uint64_t>(value("SYMBOL(" + std::string(name) + ")"), 16);
  if (!address) return std::nullopt;
  return VirtualAddress{*address};
}

std::optional<int64_t> Vmcoreinfo::number(std::string_view name) const {
  return parseNumber<int64_t>(value("NUMBER(" + std::string(name) + ")"), 10);
}

std::optional<uint64_t> Vmcoreinfo::kernelOffset() const {
  return parseNumber<uint64_t>(value("KERNELOFFSET"), 16);
}

void scanForVmcoreinfo(const PhysicalMemory& memory, Budget& budget,
                       const std::function<bool(Vmcoreinfo, PhysicalAddress)>& visit) {
  PhysicalAddress at{0};
  while (budget.spend()) {
    MemoryRange run = memory.nextStored(at);
    if (run.size == 0) return;
    run.size = std::min(run.size, kScanChunk);
    const uint64_t end = run.start.value + run.size;
    for (uint64_t page = (run.start.value + kPageSize - 1) & ~(kPageSize - 1); page < end && budget.spend();
         page += kPageSize) {
      const auto bytes = memory.view({page});
      if (bytes.size() < kFirstKey.size() ||
          std::memcmp(bytes.data(), kFirstKey.data(), kFirstKey.size()) != 0) {
        continue;
      }
      const std::string copy(reinterpret_cast<const char*>(bytes.data()),
                             std::min<size_t>(bytes.size(), kMaxSize));
      auto info = Vmcoreinfo::parse(copy);
      if (info && !visit(std::move(*info), {page})) return;
    }
    memory.release(run);
    at = run.start + run.size;
  }
}

}  // namespace xfilter
