import { type Endpoint, procEndpoint } from "./endpoint.ts";

export type Protocol = "tcp" | "udp" | "udplite" | "raw" | "icmp";

/** A row of /proc/net/{tcp,udp,…}. A mini-socket stands for one that ends (time-wait) or begins (a half-open request). */
export interface ProcNetRow {
  protocol: Protocol;
  family: 4 | 6;
  state: string;
  local: Endpoint;
  remote: Endpoint;
  uid: number;
  inode: number;
  netns: number;
}

/** What only tells rows apart. */
export interface ListedRow extends ProcNetRow {
  mini: "time-wait" | "request" | null;
}

/** include/net/tcp_states.h, by number. */
const tcpStates = [
  "",
  "ESTABLISHED",
  "SYN_SENT",
  "SYN_RECV",
  "FIN_WAIT1",
  "FIN_WAIT2",
  "TIME_WAIT",
  "CLOSE",
  "CLOSE_WAIT",
  "LAST_ACK",
  "LISTEN",
  "CLOSING",
];

/** Sockets that know no connections borrow two of TCP's states. */
export function stateName(protocol: Protocol, state: number): string {
  const name = tcpStates[state] || `state ${state}`;
  return protocol !== "tcp" && name === "CLOSE" ? "UNCONN" : name;
}

/**
 * net/ipv4/tcp_ipv4.c: rows of mini-sockets end with the sock's address, those of whole ones go on; a request's timer is 1,
 * that of time-wait 3.
 */
function miniSocket(columns: readonly string[]): ListedRow["mini"] {
  const [, , , state = "", , timer = ""] = columns;
  if (columns.length > 12) return null;
  if (timer.startsWith("03:")) return "time-wait";
  return Number.parseInt(state, 16) === 3 ? "request" : null;
}

export function procNetRows(table: string, text: string, netns: number): ListedRow[] {
  const family = table.endsWith("6") ? 6 : 4;
  const protocol = table.replace(/6$/, "") as Protocol;
  const lines = text.split("\n").slice(1);
  return lines
    .filter((line) => line.trim() !== "")
    .map((line) => {
      // sl local remote st tx:rx tr:when retrnsmt uid timeout inode …
      const columns = line.trim().split(/\s+/);
      const [, local = "", remote = "", state = "", , , , uid, , inode] = columns;
      return {
        protocol,
        family,
        state: stateName(protocol, Number.parseInt(state, 16)),
        local: procEndpoint(local),
        remote: procEndpoint(remote),
        uid: Number(uid),
        inode: Number(inode),
        netns,
        mini: protocol === "tcp" ? miniSocket(columns) : null,
      };
    });
}
