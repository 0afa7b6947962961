import { type Endpoint, procEndpoint } from "./endpoint.ts";

export type Protocol = "tcp" | "udp" | "udplite" | "raw" | "icmp";

/** A row of /proc/net/{tcp,udp,…}. */
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

export function procNetRows(table: string, text: string, netns: number): ProcNetRow[] {
  const family = table.endsWith("6") ? 6 : 4;
  const protocol = table.replace(/6$/, "") as Protocol;
  const lines = text.split("\n").slice(1);
  return lines
    .filter((line) => line.trim() !== "")
    .map((line) => {
      // sl local remote st tx:rx tr:when retrnsmt uid timeout inode …
      const [, local = "", remote = "", state = "", , , , uid, , inode] = line.trim().split(/\s+/);
      return {
        protocol,
        family,
        state: stateName(protocol, Number.parseInt(state, 16)),
        local: procEndpoint(local),
        remote: procEndpoint(remote),
        uid: Number(uid),
        inode: Number(inode),
        netns,
      };
    });
}
