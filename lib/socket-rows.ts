import type { NativeSnapshot } from "./native.ts";
import { LazyRows } from "./rows.ts";
import type { Socket } from "./socket.ts";

/** @internal What to look for among sockets: whatever has one of these. */
export interface SocketQuery {
  /** Pids of owners. */
  readonly pids?: ReadonlySet<number>;
  /** Users who made them. */
  readonly uids?: ReadonlySet<number>;
  readonly localPorts?: ReadonlySet<number>;
}

/** @internal The sockets of a snapshot. */
export class SocketRows extends LazyRows<Socket> {
  readonly #native: NativeSnapshot;

  constructor(native: NativeSnapshot, make: (row: number) => Socket) {
    super(native.sockets.count, make);
    this.#native = native;
  }

  /** In their order. Those that it is not about get no objects: who looks for a few among thousands pays for the few. */
  *where({ pids, uids, localPorts }: SocketQuery): Generator<Socket, void, undefined> {
    const { sockets, owners, processes } = this.#native;
    const wanted = Uint8Array.from(processes.pid, (pid) => (pids?.has(pid) ? 1 : 0));
    for (let row = 0, owner = 0; row < this.length; row++) {
      const end = sockets.ownersEnd[row]!;
      let found = localPorts?.has(sockets.localPort[row]!) || uids?.has(sockets.uid[row]!);
      for (; owner < end; owner++) found ||= wanted[owners.process[owner]!] === 1;
      if (found) yield this.row(row);
    }
  }
}

/** @internal Those that have something, and where the sockets are in no columns perhaps others. */
export function candidates(sockets: Iterable<Socket>, query: SocketQuery): Iterable<Socket> {
  return sockets instanceof SocketRows ? sockets.where(query) : sockets;
}
