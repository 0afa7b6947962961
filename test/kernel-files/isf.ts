import { type BtfMember, type BtfType, KIND_FLOAT, KIND_TYPE_TAG, Kind, readBtf } from "./btf.ts";

type Json = Record<string, unknown>;
const ALIASES: readonly number[] = [Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, KIND_TYPE_TAG];

/** An ISF file as dwarf2json writes one, of a kernel's BTF and its symbols. */
export function isfOf(btf: Buffer, symbols: Readonly<Record<string, string>>, banner: string): string {
  const types = readBtf(btf);
  const names = types.map(({ name }, id) => name || `unnamed_${id}`);
  const baseTypes: Json = { void: { size: 0, signed: false, kind: "void", endian: "little" } };
  const [userTypes, enums]: [Json, Json] = [{}, {}];

  const resolved = (id: number): number => (ALIASES.includes(types[id]!.kind) ? resolved(types[id]!.sizeOrType) : id);
  const describe = (id: number): Json => {
    const target = resolved(id);
    const { kind, element, count } = types[target]!;
    const name = names[target];
    if (kind === Kind.PTR) return { kind: "pointer", subtype: { kind: "base", name: "void" } };
    if (kind === Kind.ARRAY) return { kind: "array", count, subtype: describe(element) };
    if (kind === Kind.STRUCT) return { kind: "struct", name };
    if (kind === Kind.UNION) return { kind: "union", name };
    if (kind === Kind.ENUM) return { kind: "enum", name };
    return kind === Kind.INT || kind === KIND_FLOAT ? { kind: "base", name } : { kind: "function" };
  };
  // The storage unit's offset, and the bit in it from the lower end.
  const field = ({ name, type, bitOffset, bits }: BtfMember): [string, Json] => {
    const { sizeOrType: size, kind, bits: ownBits } = types[resolved(type)]!;
    const width = bits || (kind === Kind.INT && ownBits !== size * 8 ? ownBits : 0);
    const offset = width === 0 ? bitOffset / 8 : Math.floor(bitOffset / (size * 8)) * size;
    const inner = { kind: "bitfield", bit_position: bitOffset - offset * 8, bit_length: width, type: describe(type) };
    const described = { type: width === 0 ? describe(type) : inner, offset };
    return name ? [name, described] : [`unnamed_field_${offset.toString(16)}`, { ...described, anonymous: true }];
  };
  const define = ({ kind, sizeOrType: size, members, values }: BtfType, name: string) => {
    const own = (table: Json, value: Json) => {
      if (!Object.hasOwn(table, name)) table[name] = value;
    };
    if (kind === Kind.INT || kind === KIND_FLOAT)
      own(baseTypes, { size, signed: false, kind: "int", endian: "little" });
    if (kind === Kind.ENUM) own(enums, { size, base: "int", constants: Object.fromEntries(values) });
    if (kind === Kind.STRUCT || kind === Kind.UNION)
      own(userTypes, {
        size,
        fields: Object.fromEntries(members.map(field)),
        kind: kind === Kind.STRUCT ? "struct" : "union",
      });
  };
  for (const [id, type] of types.entries()) define(type, names[id]!);

  // Addresses are beyond what a number of JavaScript holds.
  const lines = Object.entries(symbols).map(([name, address]) => {
    const data = name === "linux_banner" ? `,"constant_data":"${Buffer.from(`${banner}\n\0`).toString("base64")}"` : "";
    return `${JSON.stringify(name)}:{"type":{"kind":"base","name":"void"},"address":${BigInt(address)}${data}}`;
  });
  const metadata = { linux: {}, producer: { name: "xfilter-core's tests", version: "1.0.0" }, format: "6.2.0" };
  const document = { metadata, base_types: baseTypes, user_types: userTypes, enums };
  return `${JSON.stringify(document).slice(0, -1)},"symbols":{${lines.join(",")}}}`;
}
