/** A table of a snapshot. Its objects are made when they are first looked at, and then kept. */
export interface Rows<T> extends Iterable<T> {
  readonly length: number;
  /** The row at an index; negative ones count from the end. undefined where there is none. */
  at(index: number): T | undefined;
  /** An array of all rows, for `map`, `filter` and their kin. */
  toArray(): T[];
  toJSON(): T[];
}

/** @internal */
export class LazyRows<T> implements Rows<T> {
  readonly length: number;
  readonly #make: (row: number) => T;
  readonly #made: (T | undefined)[] = [];

  constructor(length: number, make: (row: number) => T) {
    this.length = length;
    this.#make = make;
  }

  at(index: number): T | undefined {
    const row = index < 0 ? this.length + Math.trunc(index) : Math.trunc(index);
    return row >= 0 && row < this.length ? this.row(row) : undefined;
  }

  /** The row at an index that is known to be one. */
  row(row: number): T {
    this.#made[row] ??= this.#make(row);
    return this.#made[row];
  }

  *[Symbol.iterator](): Generator<T, void, undefined> {
    for (let row = 0; row < this.length; row++) yield this.row(row);
  }

  toArray(): T[] {
    const rows: T[] = [];
    for (let row = 0; row < this.length; row++) rows.push(this.row(row));
    return rows;
  }

  toJSON(): T[] {
    return this.toArray();
  }

  [Symbol.for("nodejs.util.inspect.custom")](): T[] {
    return this.toArray();
  }
}
