#pragma once

#include <elf.h>

#include <cstring>
#include <string>
#include <vector>

#include "core_header.h"

namespace xfilter::test {

/// A core file as `xl dump-core` writes it: header, section headers, sections, their names. What a test wants
/// broken it breaks in `header` or in the sections before `build`.
class XenCoreBuilder {
 public:
  static constexpr size_t kContextSize = 0x1430;

  Elf64_Ehdr header = withSections();

  struct Section {
    std::string name;
    std::string content;
    Elf64_Shdr header{};
  };
  std::vector<Section> sections;

  XenCoreBuilder& add(std::string name, std::string content) {
    sections.push_back({std::move(name), std::move(content)});
    return *this;
  }
  XenCoreBuilder& words(std::string name, const std::vector<uint64_t>& words) {
    return add(std::move(name),
               std::string(reinterpret_cast<const char*>(words.data()), words.size() * sizeof(uint64_t)));
  }

  /// A struct vcpu_guest_context with these words in it.
  struct Word {
    size_t offset;
    uint64_t value;
  };
  static std::string context(const std::vector<Word>& words) {
    std::string bytes(kContextSize, '\0');
    for (const Word& word : words) std::memcpy(bytes.data() + word.offset, &word.value, sizeof word.value);
    return bytes;
  }

  std::string build() const {
    std::vector<Section> all = {{"", ""}};
    all.insert(all.end(), sections.begin(), sections.end());
    all.push_back({".shstrtab", ""});
    std::string& names = all.back().content;
    for (Section& section : all) {
      section.header.sh_name = static_cast<Elf64_Word>(names.size());
      names += section.name + '\0';
    }
    Elf64_Ehdr head = header;
    if (head.e_shnum == 0) head.e_shnum = static_cast<Elf64_Half>(all.size());
    if (head.e_shstrndx == 0) head.e_shstrndx = static_cast<Elf64_Half>(all.size() - 1);
    std::string file(reinterpret_cast<const char*>(&head), sizeof head);
    uint64_t offset = sizeof head + all.size() * sizeof(Elf64_Shdr);
    for (Section& section : all) {
      if (section.header.sh_offset == 0) section.header.sh_offset = offset;
      if (section.header.sh_size == 0) section.header.sh_size = section.content.size();
      file.append(reinterpret_cast<const char*>(&section.header), sizeof section.header);
      offset += section.content.size();
    }
    for (const Section& section : all) file += section.content;
    return file;
  }

 private:
  static Elf64_Ehdr withSections() {
    Elf64_Ehdr header = coreHeader();
    header.e_shoff = sizeof header;
    header.e_shentsize = sizeof(Elf64_Shdr);
    return header;
  }
};

}  // namespace xfilter::test
