/**
 * How good the reading of a walk was. While `torn`, `abandoned`, `badPointers` and `limited` are 0, nothing was left out.
 */
export interface Quality {
  /** Nanoseconds that the walk took. */
  readonly elapsedNs: number;
  readonly processes: number;
  readonly threads: number;
  /** Distinct file descriptor tables. */
  readonly fdTables: number;
  /** Open files looked at, sockets or not. */
  readonly files: number;
  readonly sockets: number;
  /** Objects read again because they had moved: 0 on an image, which does not move. */
  readonly retries: number;
  /** Links and back pointers that disagreed, after all retries. */
  readonly torn: number;
  /** Objects left out because their links disagreed; `torn` counts those too. */
  readonly abandoned: number;
  /** Objects left out, or known in part, because their memory could not be read. */
  readonly badPointers: number;
  /** Values of the guest beyond a bound of xfilter-core's own: what lies behind was left out. */
  readonly limited: number;
  /** Milliseconds that the guest stood still for the walk, from QEMU's STOP event to its RESUME event; mostly 0. */
  readonly pauseMs: number;
}

/** @internal Whether nothing was left out. */
export function isWhole({ torn, abandoned, badPointers, limited }: Quality): boolean {
  return torn + abandoned + badPointers + limited === 0;
}
