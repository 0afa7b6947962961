#include "kernel/btf.h"

#include <fstream>
#include <functional>
#include <iterator>
#include <random>

#include "btf_builder.h"
#include "doctest/doctest.h"

using namespace xfilter;
using namespace xfilter::test;
using namespace xfilter::btf_format;

namespace {

Btf parse(const BtfBuilder& builder) {
  auto btf = Btf::parse(builder.build());
  REQUIRE_MESSAGE(btf.has_value(), (btf ? "" : btf.error().message));
  return std::move(*btf);
}

void checkInvalid(std::vector<std::byte> blob, std::string_view reason) {
  const auto btf = Btf::parse(std::move(blob));
  REQUIRE_FALSE(btf.has_value());
  CHECK(std::string_view(btf.error().code) == "TYPES_INVALID");
  CAPTURE(btf.error().message);
  CHECK(btf.error().message.find(reason) != std::string::npos);
}

void setWord(std::vector<std::byte>& blob, size_t offset, uint32_t value) {
  std::memcpy(blob.data() + offset, &value, sizeof value);
}

/// A little kernel, with something of each kind.
BtfBuilder kernel() {
  BtfBuilder btf;
  const auto u8 = btf.integer("unsigned char", 1);
  const auto u16 = btf.integer("unsigned short", 2);
  const auto u32 = btf.integer("unsigned int", 4);
  const auto list = btf.structure("list_head", 16,
                                  {{"next", btf.pointer(btf.nextId() + 1), 0}, {"prev", btf.pointer(0), 64}});
  const auto uid = btf.alias("kuid_t", kTypedef, btf.nextId() + 1);
  btf.structure("", 4, {{"val", u32, 0}});
  const auto comm = btf.array(u8, 16);
  btf.forward("task_struct");
  btf.structure("task_struct", 64,
                {{"flags", btf.alias("", kVolatile, u32), 0},
                 {"tasks", list, 64},
                 {"comm", comm, 192},
                 {"uid", uid, 320}});
  const auto ports = btf.structure("", 4, {{"skc_dport", u16, 0}, {"skc_num", u16, 16}});
  const auto portpair = btf.unite("", 4, {{"skc_portpair", u32, 0}, {"", ports, 0}});
  const auto common = btf.structure("sock_common", 16, {{"skc_daddr", u32, 0}, {"", portpair, 64}});
  btf.structure("sock", 32,
                {{"__sk_common", common, 0},
                 {"sk_padding", u8, 130, 1},
                 {"sk_kern_sock", u8, 131, 1},
                 {"sk_protocol", u32, 144, 16}});
  btf.enumeration("pid_type", {{"PIDTYPE_PID", 0}, {"PIDTYPE_TGID", 1}, {"PIDTYPE_MAX", 4}});
  const auto proto = btf.record("", kFuncProto, 2, false, u32, {0, u32, 0, u8});
  btf.record("do_fork", kFunc, 1, false, proto, {});
  const auto variable = btf.record("jiffies", kVar, 0, false, u32, {1});
  btf.record(".data", kDatasec, 1, false, 4, {variable, 0, 4});
  btf.record("double", kFloat, 0, false, 8, {});
  btf.record("tag", kDeclTag, 0, false, variable, {0xffffffff});
  return btf;
}

}  // namespace

TEST_CASE("btf: a member is found with its offset and size") {
  const Btf btf = parse(kernel());
  const auto tasks = btf.field("task_struct", "tasks");
  REQUIRE(tasks.has_value());
  CHECK(tasks->offset == 8);
  CHECK(tasks->size == 16);
  CHECK(tasks->elements == 1);
  CHECK(tasks->bits == 0);
  CHECK(btf.sizeOf("task_struct") == 64);
}

TEST_CASE("btf: a path leads through embedded structures and typedefs") {
  const Btf btf = parse(kernel());
  CHECK(btf.field("task_struct", "tasks.prev")->offset == 16);
  CHECK(btf.field("task_struct", "uid.val")->offset == 40);
  CHECK(btf.field("task_struct", "uid")->size == 4);
  CHECK(btf.field("sock", "__sk_common.skc_daddr")->offset == 0);
}

TEST_CASE("btf: anonymous structures and unions are looked through, as in C") {
  const Btf btf = parse(kernel());
  CHECK(btf.field("sock", "__sk_common.skc_num")->offset == 10);
  CHECK(btf.field("sock_common", "skc_portpair")->offset == 8);
}

TEST_CASE("btf: an array says how many elements it has") {
  BtfBuilder builder;
  const auto u64 = builder.integer("u64", 8);
  const auto flexible = builder.array(u64, 0);
  const auto matrix = builder.array(builder.array(u64, 3), 5);
  builder.structure("arrays", 128,
                    {{"one", builder.array(u64, 1), 0}, {"matrix", matrix, 64}, {"rest", flexible, 1024}});
  const Btf btf = parse(builder);
  CHECK(btf.field("arrays", "matrix")->elements == 15);
  CHECK(btf.field("arrays", "matrix")->size == 120);
  CHECK(btf.field("arrays", "rest")->offset == 128);
  CHECK(btf.field("arrays", "rest")->size == 0);
  CHECK(btf.field("arrays", "rest")->elements == 0);
  CHECK(parse(kernel()).field("task_struct", "comm")->elements == 16);
}

TEST_CASE("btf: a bit-field says which bits of which bytes it is") {
  const Btf btf = parse(kernel());
  const auto kern = btf.field("sock", "sk_kern_sock");
  REQUIRE(kern.has_value());
  CHECK(kern->offset == 16);
  CHECK(kern->bitShift == 3);
  CHECK(kern->bits == 1);
  CHECK(kern->size == 1);
  // Before 5.6: the type is an int of four bytes, but two are to be read.
  const auto protocol = btf.field("sock", "sk_protocol");
  CHECK(protocol->offset == 18);
  CHECK(protocol->bitShift == 0);
  CHECK(protocol->bits == 16);
  CHECK(protocol->size == 2);
}

TEST_CASE("btf: a bit-field across bytes is read with all of them") {
  BtfBuilder builder;
  const auto u64 = builder.integer("u64", 8);
  builder.structure("wide", 16, {{"odd", u64, 6, 12}, {"longest", u64, 63, 64}, {"last", u64, 127, 1}});
  const Btf btf = parse(builder);
  CHECK(btf.field("wide", "odd")->size == 3);
  CHECK(btf.field("wide", "longest")->offset == 7);
  CHECK(btf.field("wide", "longest")->size == 9);
  CHECK(btf.field("wide", "last")->offset == 15);
}

TEST_CASE("btf: a bit-field of a kernel before kind_flag is told by its int") {
  BtfBuilder builder;
  const auto u32 = builder.integer("unsigned int", 4);
  const auto three = builder.integer("unsigned int", 4, 2, 3);
  builder.structure("old", 8, {{"whole", u32, 0}, {"part", builder.alias("u32", kTypedef, three), 32}});
  const Btf btf = parse(builder);
  CHECK(btf.field("old", "whole")->bits == 0);
  const auto part = btf.field("old", "part");
  CHECK(part->offset == 4);
  CHECK(part->bitShift == 2);
  CHECK(part->bits == 3);
  CHECK(part->size == 1);
}

TEST_CASE("btf: enumerators have their value, signed or wide") {
  BtfBuilder builder = kernel();
  builder.enumeration("errors", {{"BAD", -1}}, true);
  builder.enumeration("masks", {{"ALL", 0xffffffff}});
  builder.enumeration64("wide", {{"BIG", int64_t{1} << 40}, {"LOW", -2}});
  const Btf btf = parse(builder);
  CHECK(btf.enumerator("pid_type", "PIDTYPE_TGID") == 1);
  CHECK(btf.enumerator("errors", "BAD") == -1);
  CHECK(btf.enumerator("masks", "ALL") == 0xffffffff);
  CHECK(btf.enumerator("wide", "BIG") == int64_t{1} << 40);
  CHECK(btf.enumerator("wide", "LOW") == -2);
  CHECK_FALSE(btf.enumerator("pid_type", "PIDTYPE_SID").has_value());
  CHECK_FALSE(btf.enumerator("no_enum", "PIDTYPE_TGID").has_value());
}

TEST_CASE("btf: of one name, the first full definition counts, and an enum is another thing") {
  BtfBuilder builder;
  const auto u32 = builder.integer("u32", 4);
  builder.forward("twice");
  builder.enumeration("twice", {{"VALUE", 7}});
  builder.structure("twice", 8, {{"first", u32, 32}});
  builder.structure("twice", 4, {{"second", u32, 0}});
  const Btf btf = parse(builder);
  CHECK(btf.sizeOf("twice") == 8);
  CHECK(btf.field("twice", "first").has_value());
  CHECK_FALSE(btf.field("twice", "second").has_value());
  CHECK(btf.enumerator("twice", "VALUE") == 7);
}

TEST_CASE("btf: what is not there is empty") {
  BtfBuilder builder = kernel();
  builder.forward("only_declared");
  builder.structure("empty", 0, {});
  const Btf btf = parse(builder);
  for (const char* path : {"", ".", "nothing", "tasks.", ".tasks", "tasks.nothing", "tasks..next", "comm.x",
                           "flags.x", "tasks.next.next"}) {
    CAPTURE(path);
    CHECK_FALSE(btf.field("task_struct", path).has_value());
  }
  CHECK_FALSE(btf.field("sock", "sk_kern_sock.x").has_value());
  CHECK_FALSE(btf.field("unsigned int", "x").has_value());
  CHECK_FALSE(btf.field("", "x").has_value());
  CHECK_FALSE(btf.field("empty", "x").has_value());
  CHECK_FALSE(btf.sizeOf("only_declared").has_value());
  CHECK_FALSE(btf.sizeOf("kuid_t").has_value());
  CHECK(btf.sizeOf("empty") == 0);
}

TEST_CASE("btf: types without any record are valid") {
  const Btf btf = parse(BtfBuilder());
  CHECK(btf.typeCount() == 1);
  CHECK_FALSE(btf.sizeOf("task_struct").has_value());
}

TEST_CASE("btf: a kind newer than this reader is passed over by the blob's own layout") {
  BtfBuilder builder;
  const auto u32 = builder.integer("u32", 4);
  builder.record("newer", 21, 3, false, 0, {1, 2, 3, 4});  // a tail of 4 bytes, 3 elements of 4
  builder.structure("behind", 4, {{"member", u32, 0}});
  checkInvalid(builder.build(), "is of a kind that is not known");

  std::vector<uint32_t> layout(22, 0);
  layout[21] = 4 | 4 << 8;
  builder.layout(layout);
  CHECK(parse(builder).field("behind", "member").has_value());

  layout[21] = 4 | 200 << 8;
  builder.layout(layout);
  checkInvalid(builder.build(), "is cut off");
  layout.resize(21);
  builder.layout(layout);
  checkInvalid(builder.build(), "is of a kind that is not known");
}

TEST_CASE("btf: a longer header than known is passed over") {
  auto blob = kernel().build();
  blob.insert(blob.begin() + 24, 40, std::byte{});
  setWord(blob, 4, 64);
  const auto btf = Btf::parse(blob);
  REQUIRE(btf.has_value());
  CHECK(btf->sizeOf("task_struct") == 64);
}

TEST_CASE("btf: a header that lies is refused, with the reason") {
  const auto good = kernel().build();
  auto blob = good;
  checkInvalid({}, "shorter than its header");
  setWord(blob = good, 0, 0x19feb);
  checkInvalid(blob, "magic number");
  setWord(blob = good, 0, 0x2eb9f);
  checkInvalid(blob, "version 2");
  for (const uint32_t size : {0U, 23U, 0xffffffffU}) {
    setWord(blob = good, 4, size);
    checkInvalid(blob, "a header of");
  }
  for (const uint32_t huge : {0x10000000U, 0xffffffffU}) {
    setWord(blob = good, 8, huge);
    checkInvalid(blob, "types behind its end");
    setWord(blob = good, 12, huge);
    checkInvalid(blob, "types behind its end");
    setWord(blob = good, 16, huge);
    checkInvalid(blob, "strings behind its end");
    setWord(blob = good, 20, huge);
    checkInvalid(blob, "strings behind its end");
  }
  setWord(blob = good, 20, 0);
  checkInvalid(blob, "begin and end with NUL");
  blob = good;
  blob.back() = std::byte{'x'};
  checkInvalid(blob, "begin and end with NUL");
}

TEST_CASE("btf: names and types that lead out of the blob are refused") {
  BtfBuilder builder;
  builder.pointer(5);
  checkInvalid(builder.build(), "refers to type 5 of 2");
  BtfBuilder array;
  array.array(9, 1);
  checkInvalid(array.build(), "refers to type 9");
  BtfBuilder member;
  member.structure("s", 4, {{"m", 77, 0}});
  checkInvalid(member.build(), "refers to type 77");
  auto blob = kernel().build();
  setWord(blob, 24, 0x00ffffff);
  checkInvalid(blob, "behind its strings");
}

TEST_CASE("btf: a blob truncated at any byte is refused") {
  const auto good = kernel().build();
  for (size_t size = 0; size < good.size(); ++size) {
    REQUIRE_FALSE(Btf::parse({good.begin(), good.begin() + static_cast<ptrdiff_t>(size)}).has_value());
  }
}

TEST_CASE("btf: the types may end inside of any record, and are refused") {
  const auto good = kernel().build();
  uint32_t types = 0;
  std::memcpy(&types, good.data() + 12, sizeof types);
  for (uint32_t size = 0; size < types; ++size) {
    auto blob = good;
    setWord(blob, 12, size);
    // Only where a record ends and none of the rest was referred to, it passes.
    const auto btf = Btf::parse(blob);
    if (!btf) CHECK(std::string_view(btf.error().code) == "TYPES_INVALID");
  }
}

TEST_CASE("btf: typedefs, arrays and structures that contain themselves end") {
  BtfBuilder builder;
  const auto first = builder.alias("a", kTypedef, builder.nextId() + 1);
  const auto second = builder.alias("b", kConst, first);
  const auto itself = builder.alias("c", kTypedef, builder.nextId());
  const auto endless = builder.array(builder.nextId(), 2);
  const auto same = builder.array(builder.nextId(), 1);
  builder.structure(
      "loops", 8, {{"cycle", second, 0}, {"itself", itself, 0}, {"endless", endless, 0}, {"same", same, 0}});
  builder.structure("matryoshka", 8, {{"", builder.nextId(), 0}, {"inner", builder.nextId(), 0}});
  const Btf btf = parse(builder);
  for (const char* path : {"cycle", "itself", "endless", "same", "cycle.x"})
    CHECK_FALSE(btf.field("loops", path).has_value());
  CHECK_FALSE(btf.field("matryoshka", "nothing").has_value());
  CHECK(btf.field("matryoshka", "inner.inner.inner")->offset == 0);
}

TEST_CASE("btf: anonymous structures that multiply are given up on in little time") {
  // Each of thirty structures holds the next one a hundred times.
  BtfBuilder builder;
  for (int depth = 0; depth < 30; ++depth) {
    const auto next = depth == 29 ? 0 : builder.nextId() + 1;
    builder.structure(depth == 0 ? "bomb" : "", 8, std::vector<BtfMember>(100, {"", next, 0}));
  }
  const Btf btf = parse(builder);
  CHECK_FALSE(btf.field("bomb", "nothing").has_value());
}

TEST_CASE("btf: sizes that overflow and members behind their structure's end are empty") {
  BtfBuilder builder;
  const auto u64 = builder.integer("u64", 8);
  const auto huge = builder.array(builder.array(builder.array(u64, 0xffffffff), 0xffffffff), 0xffffffff);
  const auto large = builder.array(u64, 0x20000000);
  const auto wide = builder.structure("", 0xffffffff, {{"far", u64, 0xffffff8}});
  builder.structure("liar", 16,
                    {{"huge", huge, 0},
                     {"large", large, 0},
                     {"outside", u64, 128},
                     {"across", u64, 96},
                     {"odd", u64, 3},
                     {"w", wide, 0}});
  builder.structure("bits", 2, {{"outside", u64, 16, 1}, {"too_many", u64, 0, 200}});
  const Btf btf = parse(builder);
  for (const char* path : {"huge", "large", "outside", "across", "odd", "w", "w.far"}) {
    CAPTURE(path);
    CHECK_FALSE(btf.field("liar", path).has_value());
  }
  CHECK_FALSE(btf.field("bits", "outside").has_value());
  CHECK_FALSE(btf.field("bits", "too_many").has_value());
}

TEST_CASE("btf: a name of megabytes costs no more than a kernel's") {
  BtfBuilder builder;
  const std::string endless(4 << 20, 'x');
  const auto u32 = builder.integer(endless, 4);
  builder.structure("s", 4, {{"m", u32, 0}});
  for (int i = 0; i < 1000; ++i) builder.record("", kStruct, 0, false, 0, {});
  auto blob = builder.build();
  // All of them take the long one for their name.
  for (size_t i = 0; i < 1000; ++i) setWord(blob, 24 + 16 + 24 + i * 12, 1);
  const auto btf = Btf::parse(blob);
  REQUIRE(btf.has_value());
  CHECK(btf->field("s", "m").has_value());
}

TEST_CASE("btf: random damage yields an error or types, never a crash") {
  const auto good = kernel().build();
  std::mt19937 random(3);
  for (int round = 0; round < 20000; ++round) {
    auto blob = good;
    for (auto hits = 1 + random() % 4; hits > 0; --hits)
      blob[random() % blob.size()] = static_cast<std::byte>(random());
    const auto btf = Btf::parse(blob);
    if (!btf) continue;
    for (const char* path : {"tasks.prev", "comm", "uid.val", "flags"}) (void)btf->field("task_struct", path);
    for (const char* path : {"__sk_common.skc_num", "sk_protocol", "sk_kern_sock"})
      (void)btf->field("sock", path);
    (void)btf->enumerator("pid_type", "PIDTYPE_MAX");
  }
}

TEST_CASE("btf: the types of the kernel that runs this test are read, where it has them") {
  std::ifstream file("/sys/kernel/btf/vmlinux", std::ios::binary);
  const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), {});
  if (bytes.empty()) return;
  const auto* first = reinterpret_cast<const std::byte*>(bytes.data());
  const auto btf = Btf::parse({first, first + bytes.size()});
  REQUIRE(btf.has_value());
  CHECK(btf->field("task_struct", "comm")->elements == 16);
  CHECK(btf->field("list_head", "prev")->offset == 8);
  CHECK(btf->field("sock", "__sk_common.skc_daddr").has_value());
  CHECK(btf->sizeOf("task_struct") > 1000);
}

TEST_CASE("btf: names made to collide by the hash that everybody knows do not") {
  constexpr size_t kNames = 1500;
  constexpr size_t kSlots = 4096;
  std::vector<std::string> names;
  for (uint64_t i = 0; names.size() < kNames; ++i) {
    std::string name = std::to_string(i);
    if ((std::hash<std::string_view>()(name) & (kSlots - 1)) < 8) names.push_back(std::move(name));
  }
  BtfBuilder builder;
  uint32_t size = 0;
  for (const std::string& name : names) builder.structure(name, ++size, {});
  const Btf btf = parse(builder);
  for (const size_t i : {size_t{0}, kNames / 2, kNames - 1}) CHECK(btf.sizeOf(names[i]) == i + 1);
}
