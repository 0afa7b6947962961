import type { NativeStrings } from "./native.ts";

/** @internal The strings of a snapshot, decoded as UTF-8 when first asked for; U+FFFD for what does not decode. */
export class StringTable {
  readonly #native: NativeStrings;
  readonly #decoded: (string | undefined)[] = [];

  constructor(native: NativeStrings) {
    this.#native = native;
  }

  at(id: number): string {
    this.#decoded[id] ??= this.#decode(id);
    return this.#decoded[id];
  }

  #decode(id: number): string {
    const { bytes, ends } = this.#native;
    return decoder.decode(bytes.subarray(ends[id - 1] ?? 0, ends[id]));
  }
}

// A byte order mark is part of a name as any other character.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
