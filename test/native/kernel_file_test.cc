#include "kernel/kernel_file.h"

#include <elf.h>
#include <unistd.h>

#include <cstring>

#include "btf_builder.h"
#include "doctest/doctest.h"
#include "kernel/isf.h"
#include "kernel/layout.h"
#include "kernel/profile.h"
#include "kernel/system_map.h"
#include "kernel/vmlinux.h"

using namespace xfilter;
using test::BtfBuilder;

namespace {

constexpr std::string_view kIsf = R"({
  "metadata": {"format": "6.2.0"},
  "base_types": {"int": {"size": 4}, "unsigned char": {"size": 1}},
  "user_types": {
    "pair": {"size": 32, "fields": {
      "first": {"type": {"kind": "base", "name": "int"}, "offset": 0},
      "flag": {"type": {"kind": "bitfield", "bit_position": 10, "bit_length": 3, "type": {"kind": "base", "name": "int"}}, "offset": 4},
      "bad_flag": {"type": {"kind": "bitfield", "bit_position": -2, "bit_length": 3, "type": {"kind": "base", "name": "int"}}, "offset": 4},
      "unnamed_field_8": {"anonymous": true, "type": {"kind": "union", "name": "unnamed_1"}, "offset": 8},
      "next": {"type": {"kind": "pointer", "subtype": {"kind": "struct", "name": "pair"}}, "offset": 16},
      "matrix": {"type": {"kind": "array", "count": 2, "subtype": {"kind": "array", "count": 4, "subtype": {"kind": "base", "name": "unsigned char"}}}, "offset": 24},
      "beyond": {"type": {"kind": "base", "name": "int"}, "offset": 30}}},
    "unnamed_1": {"size": 8, "fields": {
      "inner": {"type": {"kind": "struct", "name": "box"}, "offset": 0}}},
    "box": {"size": 8, "fields": {
      "lid": {"type": {"kind": "enum", "name": "color"}, "offset": 4}}},
    "circle": {"size": 8, "fields": {
      "unnamed_field_0": {"anonymous": true, "type": {"kind": "struct", "name": "circle"}, "offset": 0}}}},
  "enums": {"color": {"size": 4, "base": "int", "constants": {"RED": -1, "BLUE": 2}}},
  "symbols": {
    "_stext": {"address": 18446744071578845184},
    "init_task": {"address": 0},
    "linux_banner": {"address": 18446744071595950048, "constant_data": "TGludXggdmVyc2lvbiA2LjEKAA=="}}
})";

Isf parseIsf(std::string_view text) {
  auto isf = Isf::parse(text);
  REQUIRE(isf);
  return std::move(*isf);
}

/// An ELF file of sections: what a kernel's has, and what a broken one has.
class VmlinuxBuilder {
 public:
  size_t section(std::string_view name, uint32_t type, std::string_view bytes, uint64_t address = 0,
                 uint32_t link = 0) {
    Elf64_Shdr header{};
    header.sh_name = static_cast<uint32_t>(names_.size());
    header.sh_type = type;
    header.sh_flags = SHF_ALLOC;
    header.sh_addr = address;
    header.sh_offset = sizeof(Elf64_Ehdr) + content_.size();
    header.sh_size = bytes.size();
    header.sh_link = link;
    names_.append(name).push_back('\0');
    content_.append(bytes);
    headers_.push_back(header);
    return headers_.size();  // section 0 is none
  }

  std::vector<std::byte> build() {
    const size_t strings = section(".shstrtab", SHT_STRTAB, names_ + ".shstrtab");
    Elf64_Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_type = ET_EXEC;
    header.e_machine = EM_X86_64;
    header.e_shoff = sizeof header + content_.size();
    header.e_shentsize = sizeof(Elf64_Shdr);
    header.e_shnum = static_cast<uint16_t>(headers_.size() + 1);
    header.e_shstrndx = static_cast<uint16_t>(strings);
    std::string file = raw(header) + content_ + raw(Elf64_Shdr{});
    for (const auto& section : headers_) file += raw(section);
    const auto* bytes = reinterpret_cast<const std::byte*>(file.data());
    return {bytes, bytes + file.size()};
  }

  template <class T>
  static std::string raw(const T& value) {
    return {reinterpret_cast<const char*>(&value), sizeof value};
  }

 private:
  std::string names_ = std::string(1, '\0');
  std::string content_;
  std::vector<Elf64_Shdr> headers_;
};

std::string symbol(uint32_t name, uint64_t address) {
  Elf64_Sym entry{};
  entry.st_name = name;
  entry.st_shndx = 1;
  entry.st_value = address;
  return VmlinuxBuilder::raw(entry);
}

std::vector<std::byte> vmlinux() {
  BtfBuilder btf;
  btf.structure("task_struct", 8, {{"pid", btf.integer("int", 4), 32}});
  const auto types = btf.build();
  VmlinuxBuilder builder;
  builder.section(".BTF", SHT_PROGBITS, {reinterpret_cast<const char*>(types.data()), types.size()});
  builder.section(".rodata", SHT_PROGBITS, std::string("xxxxLinux version 6.1\n\0", 23), 0x1000);
  builder.section(".notes", SHT_NOTE, std::string("\4\0\0\0\2\0\0\0\3\0\0\0GNU\0\xab\xcd\0\0", 20));
  const auto strings = builder.section(".strtab", SHT_STRTAB, std::string("\0_stext\0linux_banner\0x", 22));
  builder.section(".symtab", SHT_SYMTAB,
                  symbol(1, 0x500) + symbol(8, 0x1004) + symbol(21, 7) + symbol(9999, 7), 0,
                  static_cast<uint32_t>(strings));
  return builder.build();
}

}  // namespace

TEST_CASE("an ISF file answers as BTF does") {
  const Isf isf = parseIsf(kIsf);
  CHECK(isf.field("pair", "first") == Field{.offset = 0, .size = 4});
  CHECK(isf.field("pair", "next") == Field{.offset = 16, .size = 8});
  CHECK(isf.field("pair", "matrix") == Field{.offset = 24, .size = 8, .elements = 8});
  CHECK(isf.field("pair", "flag") == Field{.offset = 5, .size = 1, .bitShift = 2, .bits = 3});
  CHECK(isf.field("pair", "inner.lid") == Field{.offset = 12, .size = 4});
  CHECK(isf.sizeOf("pair") == 32);
  CHECK(isf.enumerator("color", "RED") == -1);
  CHECK(isf.enumerator("color", "BLUE") == 2);
  CHECK(isf.banner()->starts_with("Linux version 6.1\n"));
  CHECK(isf.symbols().find("_stext")->value == 0xffff'ffff'8100'0000);
  SUBCASE("and of what is not there or makes no sense, nothing") {
    for (const auto* path : {"third", "first.x", "bad_flag", "beyond", "inner.lid.x", "", "next.first"}) {
      CAPTURE(path);
      CHECK_FALSE(isf.field("pair", path));
    }
    CHECK_FALSE(isf.field("nothing", "x"));
    CHECK_FALSE(isf.field("circle", "x"));
    CHECK_FALSE(isf.sizeOf("color"));
    CHECK_FALSE(isf.enumerator("color", "GREEN"));
    CHECK_FALSE(isf.symbols().find("init_task"));
  }
}

TEST_CASE("an ISF file that is cut off, of another format or another JSON is refused") {
  for (size_t size = 0; size < kIsf.size() - 1; size += 7) {
    CAPTURE(size);
    CHECK_FALSE(Isf::parse(kIsf.substr(0, size)));
  }
  std::string old(kIsf);
  old.replace(old.find("6.2.0"), 5, "4.1.0");
  CHECK_FALSE(Isf::parse(old));
  for (const auto* text : {"{}", "[]", R"({"metadata": 7})", R"({"user_types": []})"})
    CHECK_FALSE(Isf::parse(text));
}

TEST_CASE("an ISF file with any byte changed ends in an answer or an error") {
  for (size_t i = 0; i < kIsf.size(); ++i) {
    std::string changed(kIsf);
    changed[i] = "\"{}[],:\\0-"[i % 10];
    const auto isf = Isf::parse(changed);
    if (!isf) continue;
    isf->field("pair", "inner.lid");
    isf->field("pair", "matrix");
    isf->field("circle", "x");
    isf->enumerator("color", "BLUE");
  }
}

TEST_CASE("an ISF file whose structures hold each other too often answers nothing, and soon") {
  const auto withAnonymous = [](int count) {
    std::string large, anonymous;
    for (int i = 0; i < 1000; ++i) {
      large += R"("m)" + std::to_string(i) + R"(": {"type": {"kind": "base", "name": "int"}, "offset": 0}, )";
    }
    const auto member = [](int i, const char* type) {
      return "\"unnamed_field_" + std::to_string(i) + R"(": {"type": {"kind": "struct", "name": ")" + type +
             R"("}, "offset": 0}, )";
    };
    for (int i = 0; i < count; ++i) anonymous += member(i, "large");
    return R"({"metadata": {"format": "6.2.0"}, "base_types": {"int": {"size": 4}}, "user_types": {)"
           R"("large": {"size": 8, "fields": {)" +
           large + R"("x": {}}}, "small": {"size": 8, "fields": {"wanted": {"type": {"kind": "base", )" +
           R"("name": "int"}, "offset": 4}}}, "outer": {"size": 8, "fields": {)" + anonymous +
           member(count, "small") + R"("x": {}}}}})";
  };
  const std::string few = withAnonymous(10), many = withAnonymous(2000);
  CHECK(parseIsf(few).field("outer", "wanted")->offset == 4);
  CHECK_FALSE(parseIsf(many).field("outer", "wanted"));
}

TEST_CASE("a System.map gives the symbols that somebody asks for, numbered ones for the plain") {
  const auto symbols = readSystemMap(
      "0000000000000000 A fixed_percpu_data\r\n"
      "ffffffff81000000 T _stext\n"
      "ffffffff82000010 b tk_core.3\n"
      "ffffffff82000020 d init_task.1\n"
      "ffffffff82000030 D init_task\n"
      "ffffffff82000040 D init_task");
  REQUIRE(symbols);
  CHECK(symbols->size() == 6);
  CHECK(symbols->find("_stext")->value == 0xffff'ffff'8100'0000);
  CHECK(symbols->find("tk_core")->value == 0xffff'ffff'8200'0010);
  CHECK(symbols->find("init_task")->value == 0xffff'ffff'8200'0030);
  CHECK_FALSE(symbols->find("fixed_percpu_data"));
  CHECK_FALSE(readSystemMap("ffffffff81000000 T _stext\nffffffff8100"));
  CHECK_FALSE(isSystemMap("ffffffff8100000g T _stext\n"));
}

TEST_CASE("a vmlinux gives types, symbols, build id and banner") {
  const auto read = readVmlinux(vmlinux());
  REQUIRE(read);
  CHECK(read->types->field("task_struct", "pid")->offset == 4);
  CHECK(read->symbols.find("_stext")->value == 0x500);
  CHECK(read->buildId == "abcd");
  CHECK(read->banner == "Linux version 6.1\n");
  CHECK_FALSE(read->hasDwarf);
}

TEST_CASE("of a vmlinux with several symbol tables and types the first are read") {
  BtfBuilder one, two;
  one.structure("task_struct", 8, {});
  two.structure("task_struct", 16, {});
  VmlinuxBuilder builder;
  for (auto* btf : {&one, &two}) {
    const auto types = btf->build();
    builder.section(".BTF", SHT_PROGBITS, {reinterpret_cast<const char*>(types.data()), types.size()});
  }
  const auto strings = builder.section(".strtab", SHT_STRTAB, std::string("\0_stext\0init_task", 18));
  builder.section(".symtab", SHT_SYMTAB, symbol(1, 0x500), 0, static_cast<uint32_t>(strings));
  builder.section(".symtab", SHT_SYMTAB, symbol(8, 0x600), 0, static_cast<uint32_t>(strings));
  const auto file = builder.build();
  const auto read = readVmlinux(file);
  REQUIRE(read);
  CHECK(read->types->sizeOf("task_struct") == 8);
  CHECK(read->symbols.size() == 1);
}

TEST_CASE("a vmlinux that is cut off or changed anywhere ends in an answer or an error") {
  const auto whole = vmlinux();
  for (size_t size = 0; size < whole.size(); ++size) CHECK_FALSE(readVmlinux({whole.data(), size}));
  for (size_t i = 0; i < whole.size(); ++i) {
    for (const int value : {0x00, 0x7f, 0xff}) {
      auto changed = whole;
      changed[i] = static_cast<std::byte>(value);
      static_cast<void>(readVmlinux(changed));
    }
  }
}

TEST_CASE("a profile keeps what was asked and answered, and reads as it was written") {
  const Isf isf = parseIsf(kIsf);
  Profile profile;
  const Profile::Recorder recorder(isf, profile);
  recorder.field("pair", "flag");
  recorder.field("pair", "matrix");
  recorder.field("pair", "third");
  recorder.sizeOf("box");
  recorder.enumerator("color", "RED");
  CHECK_FALSE(recorder.unanswered());
  profile.symbols = isf.symbols();
  profile.banner = "Linux \"version\" \\ \n";
  const auto read = Profile::parse(profile.toJson());
  REQUIRE(read);
  CHECK(read->field("pair", "flag") == isf.field("pair", "flag"));
  CHECK(read->field("pair", "matrix") == isf.field("pair", "matrix"));
  CHECK_FALSE(read->field("pair", "third"));
  CHECK_FALSE(read->unanswered());
  CHECK_FALSE(read->field("pair", "first"));
  REQUIRE(read->unanswered());
  CHECK(read->unanswered()->message.find("pair.first") != std::string::npos);
  CHECK(read->sizeOf("box") == 8);
  CHECK(read->enumerator("color", "RED") == -1);
  CHECK(read->banner == profile.banner);
  CHECK_FALSE(read->buildId);
  CHECK(read->symbols.find("_stext") == isf.symbols().find("_stext"));
  CHECK(read->toJson() == profile.toJson());
}

TEST_CASE("a profile whose numbers cannot be is refused") {
  const auto member = [](std::string_view value) {
    return Profile::parse(R"({"xfilterProfile": 1, "members": {"a.b": )" + std::string(value) + "}}");
  };
  CHECK(member(R"({"offset": 8, "size": 4, "later": [1]})"));
  for (const auto* value : {R"({"offset": -1})", R"({"offset": 4294967296})", R"({"bits": 65})",
                            R"({"bitShift": 8})", R"({"size": "4"})", "7", "nul"}) {
    CAPTURE(value);
    CHECK_FALSE(member(value));
  }
  CHECK(member("null"));
  CHECK_FALSE(Profile::parse(R"({"xfilterProfile": 1, "symbols": {"init_task": 7}})"));
  CHECK_FALSE(Profile::parse(R"({"xfilterProfile": 1, "symbols": {"init_task": "7"}})"));
  CHECK_FALSE(Profile::parse(R"({"xfilterProfile": 2})"));
  CHECK_FALSE(Profile::parse("{}"));
}

TEST_CASE(
    "kernel file: the types of the kernel that runs this test are read in place, though sysfs maps no file" *
    doctest::skip(access("/sys/kernel/btf/vmlinux", R_OK) != 0)) {
  const auto file = KernelFile::read({.path = "/sys/kernel/btf/vmlinux"});
  REQUIRE_MESSAGE(file.has_value(), (file ? "" : file.error().message));
  CHECK(file->format == "BTF");
  CHECK(file->types->sizeOf("task_struct").has_value());
}

TEST_CASE("a profile of which some symbol was not asked is refused, one of types alone is not") {
  const auto earlier =
      Profile::parse(R"({"xfilterProfile": 1, "symbols": {"init_task": "0xffffffff82000000"}})");
  REQUIRE_FALSE(earlier);
  CHECK(earlier.error().message.find("_stext") != std::string::npos);
  const auto withoutSymbols = Profile::parse(R"({"xfilterProfile": 1, "symbols": {}})");
  CHECK(withoutSymbols.has_value());
}
