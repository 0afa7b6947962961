#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

// The blob (include/uapi/linux/btf.h), in the guest's byte order:
//
//   header    u16 magic, u8 version, u8 flags, u32 header size
//             u32 offset and size of the types, u32 offset and size of the strings
//             u32 offset and size of the layout, if the header is that long
//             offsets count from the end of the header
//   types     records, numbered from 1; 0 is void
//   strings   NUL-terminated, the first one empty
//   layout    for each kind from 0 on: u8 size of its tail, u8 size of an element, u16 flags. By it a reader
//             passes over a kind that is newer than the reader
//
//   a record  u32 name           offset in the strings
//             u32 info           bits 0-23 number of elements, 24-30 kind, 31 kind_flag
//                                (at first bits 0-15 and 24-28, with zeros between)
//             u32 size or type
//             tail, elements     what the kind has: kKinds

namespace xfilter::btf_format {

inline constexpr uint16_t kMagic = 0xeb9f;
inline constexpr size_t kHeaderBytes = 24;
inline constexpr size_t kHeaderWithLayoutBytes = 32;
inline constexpr size_t kRecordBytes = 12;
inline constexpr size_t kLayoutBytes = 4;

enum Kind : uint32_t {
  kInt = 1,
  kPtr,
  kArray,
  kStruct,
  kUnion,
  kEnum,
  kFwd,
  kTypedef,
  kVolatile,
  kConst,
  kRestrict,
  kFunc,
  kFuncProto,
  kVar,
  kDatasec,
  kFloat,
  kDeclTag,
  kTypeTag,
  kEnum64,
};

constexpr uint32_t bit(Kind kind) { return 1U << kind; }

// What follows a record, and which words of it lead somewhere.
inline constexpr int8_t kNone = -1;
struct KindShape {
  bool refersToType;  // the record's third word is a type
  uint8_t tailBytes;
  uint8_t elementBytes;
  std::array<int8_t, 2> tailTypes;  // words of the tail that are types
  int8_t elementName;               // word of each element that is a name
  int8_t elementType;               // and a type
};
inline constexpr std::array<KindShape, 20> kKinds = {{
    {false, 0, 0, {kNone, kNone}, kNone, kNone},  // 0, which no record has
    {false, 4, 0, {kNone, kNone}, kNone, kNone},  // int: encoding, offset, bits
    {true, 0, 0, {kNone, kNone}, kNone, kNone},   // ptr
    {false, 12, 0, {0, 1}, kNone, kNone},         // array: element type, index type, count
    {false, 0, 12, {kNone, kNone}, 0, 1},         // struct: name, type, offset in bits
    {false, 0, 12, {kNone, kNone}, 0, 1},         // union: as struct
    {false, 0, 8, {kNone, kNone}, 0, kNone},      // enum: name, value
    {false, 0, 0, {kNone, kNone}, kNone, kNone},  // fwd
    {true, 0, 0, {kNone, kNone}, kNone, kNone},   // typedef
    {true, 0, 0, {kNone, kNone}, kNone, kNone},   // volatile
    {true, 0, 0, {kNone, kNone}, kNone, kNone},   // const
    {true, 0, 0, {kNone, kNone}, kNone, kNone},   // restrict
    {true, 0, 0, {kNone, kNone}, kNone, kNone},   // func: "elements" is its linkage
    {true, 0, 8, {kNone, kNone}, 0, 1},           // func_proto: name, type
    {true, 4, 0, {kNone, kNone}, kNone, kNone},   // var: linkage
    {false, 0, 12, {kNone, kNone}, kNone, 0},     // datasec: type, offset, size
    {false, 0, 0, {kNone, kNone}, kNone, kNone},  // float
    {true, 4, 0, {kNone, kNone}, kNone, kNone},   // decl_tag: index of the member
    {true, 0, 0, {kNone, kNone}, kNone, kNone},   // type_tag
    {false, 0, 12, {kNone, kNone}, 0, kNone},     // enum64: name, low and high half of the value
}};

}  // namespace xfilter::btf_format
