/** A reader of BTF (Documentation/bpf/btf.rst), as far as tests need one of their own: to forge BTF and to make ISF of it. */
export interface BtfType {
  readonly kind: number;
  readonly name: string;
  readonly kindFlag: boolean;
  readonly sizeOrType: number;
  /** Of structures and unions. */
  readonly members: readonly BtfMember[];
  /** Of enums. */
  readonly values: readonly (readonly [name: string, value: number])[];
  /** Of arrays. */
  readonly element: number;
  readonly count: number;
  /** Of integers. */
  readonly bits: number;
}

export interface BtfMember {
  readonly name: string;
  readonly type: number;
  readonly bitOffset: number;
  readonly bits: number;
  /** Where in the blob its offset is written. */
  readonly offsetAt: number;
}

export const Kind = {
  INT: 1,
  PTR: 2,
  ARRAY: 3,
  STRUCT: 4,
  UNION: 5,
  ENUM: 6,
  TYPEDEF: 8,
  VOLATILE: 9,
  CONST: 10,
  RESTRICT: 11,
} as const;
export const KIND_FLOAT = 16;
export const KIND_TYPE_TAG = 18;
export const KIND_ENUM64 = 19;
/** Bytes behind the record: fixed, and for each element. */
const TAILS: Record<number, readonly [number, number]> = {
  1: [4, 0],
  3: [12, 0],
  4: [0, 12],
  5: [0, 12],
  6: [0, 8],
  13: [0, 8],
  14: [4, 0],
  15: [0, 12],
  17: [4, 0],
  19: [0, 12],
};

/** Types by id; 0 is void. */
export function readBtf(blob: Buffer): BtfType[] {
  const word = (at: number) => blob.readUInt32LE(at);
  const start = word(4);
  const strings = start + word(16);
  const text = (offset: number) => blob.toString("latin1", strings + offset, blob.indexOf(0, strings + offset));
  const none = { members: [], values: [], element: 0, count: 0, bits: 0 };
  const types: BtfType[] = [{ kind: 0, name: "void", kindFlag: false, sizeOrType: 0, ...none }];
  const end = start + word(8) + word(12);
  for (let at = start + word(8); at < end; ) {
    const info = word(at + 4);
    const [kind, count, kindFlag] = [(info >>> 24) & 0x7f, info & 0xffffff, info >>> 31 === 1];
    const [fixed, each] = TAILS[kind] ?? [0, 0];
    const tail = at + 12;
    const elements = Array.from({ length: each > 0 ? count : 0 }, (_, i) => tail + i * each);
    types.push({
      ...none,
      kind,
      name: text(word(at)),
      kindFlag,
      sizeOrType: word(at + 8),
      members:
        kind !== Kind.STRUCT && kind !== Kind.UNION
          ? []
          : elements.map((member) => ({
              name: text(word(member)),
              type: word(member + 4),
              bitOffset: kindFlag ? word(member + 8) & 0xffffff : word(member + 8),
              bits: kindFlag ? word(member + 8) >>> 24 : 0,
              offsetAt: member + 8,
            })),
      values:
        kind !== Kind.ENUM ? [] : elements.map((value) => [text(word(value)), blob.readInt32LE(value + 4)] as const),
      ...(kind === Kind.ARRAY ? { element: word(tail), count: word(tail + 8) } : {}),
      bits: kind === Kind.INT ? word(tail) & 0xff : 0,
    });
    at = tail + fixed + each * count;
  }
  return types;
}
