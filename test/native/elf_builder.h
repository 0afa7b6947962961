#pragma once

#include <elf.h>

#include <span>
#include <string>
#include <vector>

#include "core_header.h"

namespace xfilter::test {

/// An ELF core as a dump tool writes it: header, program headers, then the contents. What a test wants broken
/// it breaks in `header` or `segments` before `build`.
class ElfBuilder {
 public:
  Elf64_Ehdr header = withSegments();

  struct Segment {
    Elf64_Phdr header{};
    std::string content;
  };
  std::vector<Segment> segments;

  /// Memory at `physical`; `size` beyond the content is memory that the file does not store.
  ElfBuilder& load(uint64_t physical, std::string content, uint64_t size = 0) {
    Elf64_Phdr segment{};
    segment.p_type = PT_LOAD;
    segment.p_paddr = physical;
    segment.p_filesz = content.size();
    segment.p_memsz = size == 0 ? content.size() : size;
    segments.push_back({segment, std::move(content)});
    return *this;
  }

  /// A note segment of one note.
  ElfBuilder& note(const std::string& name, const std::string& content) {
    const Elf64_Nhdr note{static_cast<Elf64_Word>(name.size() + 1), static_cast<Elf64_Word>(content.size()),
                          0};
    std::string bytes(reinterpret_cast<const char*>(&note), sizeof note);
    for (const std::string& part : {name + '\0', content}) {
      bytes += part;
      bytes.resize((bytes.size() + 3) & ~size_t{3});
    }
    Elf64_Phdr segment{};
    segment.p_type = PT_NOTE;
    segment.p_filesz = segment.p_memsz = bytes.size();
    segments.push_back({segment, std::move(bytes)});
    return *this;
  }

  std::string build() const {
    Elf64_Ehdr head = header;
    if (head.e_phnum == 0) head.e_phnum = static_cast<Elf64_Half>(segments.size());
    std::string file(reinterpret_cast<const char*>(&head), sizeof head);
    uint64_t offset = sizeof head + segments.size() * sizeof(Elf64_Phdr);
    for (const Segment& segment : segments) {
      Elf64_Phdr entry = segment.header;
      if (entry.p_offset == 0) entry.p_offset = offset;
      file.append(reinterpret_cast<const char*>(&entry), sizeof entry);
      offset += segment.content.size();
    }
    for (const Segment& segment : segments) file += segment.content;
    return file;
  }

 private:
  static Elf64_Ehdr withSegments() {
    Elf64_Ehdr header = coreHeader();
    header.e_phoff = sizeof header;
    header.e_phentsize = sizeof(Elf64_Phdr);
    return header;
  }
};

}  // namespace xfilter::test
