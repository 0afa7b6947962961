#include "kernel/vmlinux.h"

#include <elf.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernel/build_id.h"

namespace xfilter {
namespace {

constexpr uint64_t kMaxSections = 1 << 16;
constexpr uint64_t kMaxSymbols = 4 << 20;  // kernels have 100,000 to 200,000
constexpr size_t kMaxNotes = 64 << 10;     // bytes of a section of them; a kernel has some 100
constexpr size_t kMaxName = 512;
constexpr size_t kMaxBanner = 512;

tl::unexpected<Error> invalid(std::string what) {
  return failure("TYPES_INVALID", std::move(what),
                 "Give the vmlinux of an x86_64 kernel, whole, as its build or its debug package has it.");
}

template <class T>
std::optional<T> at(std::span<const std::byte> bytes, uint64_t offset) {
  if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

/// Empty when it does not end.
std::string_view stringAt(std::span<const std::byte> bytes, uint64_t offset, size_t maximum) {
  if (offset >= bytes.size()) return {};
  const char* text = reinterpret_cast<const char*>(bytes.data()) + offset;
  const size_t limit = std::min<uint64_t>(maximum, bytes.size() - offset);
  const size_t length = strnlen(text, limit);
  return length == limit ? std::string_view() : std::string_view(text, length);
}

struct Section {
  Elf64_Shdr header;
  std::string_view name;
  std::span<const std::byte> bytes;  // empty where the file stores none
};

Result<std::vector<Section>> readSections(std::span<const std::byte> file, const Elf64_Ehdr& header) {
  const auto first = at<Elf64_Shdr>(file, header.e_shoff);
  if (header.e_shoff == 0 || header.e_shentsize != sizeof(Elf64_Shdr) || !first)
    return invalid("it has no section headers");
  // More sections than fit the header are counted in section 0.
  const uint64_t count = header.e_shnum != 0 ? header.e_shnum : first->sh_size;
  const uint64_t names = header.e_shstrndx != SHN_XINDEX ? header.e_shstrndx : first->sh_link;
  if (count > kMaxSections) return invalid("it claims an impossible number of sections");

  std::vector<Section> sections;
  for (uint64_t i = 0; i < count; ++i) {
    const auto section = at<Elf64_Shdr>(file, header.e_shoff + i * sizeof(Elf64_Shdr));
    if (!section) return invalid("its section headers are cut off");
    Section& added = sections.emplace_back(Section{*section, {}, {}});
    if (section->sh_type == SHT_NOBITS || section->sh_type == SHT_NULL) continue;
    if (section->sh_offset > file.size() || file.size() - section->sh_offset < section->sh_size)
      return invalid("its section " + std::to_string(i) + " lies beyond its end");
    added.bytes = file.subspan(section->sh_offset, section->sh_size);
  }
  if (names < sections.size()) {
    const auto strings = sections[names].bytes;
    for (Section& section : sections) section.name = stringAt(strings, section.header.sh_name, kMaxName);
  }
  return sections;
}

void readSymbols(const Section& table, std::span<const std::byte> strings, SymbolTable& symbols) {
  const uint64_t count = std::min<uint64_t>(table.bytes.size() / sizeof(Elf64_Sym), kMaxSymbols);
  for (uint64_t i = 0; i < count; ++i) {
    const auto symbol = *at<Elf64_Sym>(table.bytes, i * sizeof(Elf64_Sym));
    const auto type = ELF64_ST_TYPE(symbol.st_info);
    if (symbol.st_shndx == SHN_UNDEF || type == STT_SECTION || type == STT_FILE) continue;
    const auto name = stringAt(strings, symbol.st_name, kMaxName);
    if (!name.empty()) symbols.add(name, symbol.st_value);
  }
}

std::optional<std::string> readBanner(const std::vector<Section>& sections, VirtualAddress address) {
  for (const Section& section : sections) {
    if (address.value < section.header.sh_addr || (section.header.sh_flags & SHF_ALLOC) == 0) continue;
    const auto text = stringAt(section.bytes, address.value - section.header.sh_addr, kMaxBanner);
    if (text.starts_with("Linux version ")) return std::string(text);
  }
  return std::nullopt;
}

}  // namespace

bool isVmlinux(std::span<const std::byte> file) {
  return file.size() >= SELFMAG && std::memcmp(file.data(), ELFMAG, SELFMAG) == 0;
}

Result<Vmlinux> readVmlinux(std::span<const std::byte> file) {
  const auto header = at<Elf64_Ehdr>(file, 0);
  if (!header || header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB ||
      header->e_machine != EM_X86_64) {
    return invalid("it is not an ELF file of an x86_64 machine");
  }
  if (header->e_type == ET_CORE) return invalid("it is a core, the image of a memory");
  const auto sections = readSections(file, *header);
  if (!sections) return tl::unexpected(sections.error());

  Vmlinux vmlinux;
  bool hasSymbols = false;
  // The first of each: a broken file may have thousands that are all the same bytes.
  for (const Section& section : *sections) {
    if (section.name == ".BTF" && !section.bytes.empty() && !vmlinux.types) {
      auto btf = Btf::parse({section.bytes.begin(), section.bytes.end()});
      if (!btf) return tl::unexpected(btf.error());
      vmlinux.types.emplace(std::move(*btf));
    } else if (section.header.sh_type == SHT_SYMTAB && section.header.sh_link < sections->size() &&
               !hasSymbols) {
      hasSymbols = true;
      readSymbols(section, (*sections)[section.header.sh_link].bytes, vmlinux.symbols);
    } else if (section.header.sh_type == SHT_NOTE && !vmlinux.buildId) {
      vmlinux.buildId = findBuildId(section.bytes.first(std::min(section.bytes.size(), kMaxNotes)));
    } else if (section.name == ".debug_info") {
      vmlinux.hasDwarf = true;
    }
  }
  if (const auto banner = vmlinux.symbols.find("linux_banner")) {
    vmlinux.banner = readBanner(*sections, *banner);
  }
  return vmlinux;
}

}  // namespace xfilter
