import type { FlowPattern } from "../../lib/rules/pattern.ts";
import { GUEST, HOST } from "./network.ts";

/** What a test says of a pattern: it is a flow of TCP over IPv4 from the guest's port 1000 to the host's 22, but for this. */
export type Change = Partial<Omit<FlowPattern, "local" | "remote">> & {
  readonly local?: Partial<FlowPattern["local"]>;
  readonly remote?: Partial<FlowPattern["remote"]>;
};

export function pattern(change: Change = {}): FlowPattern {
  const { family = 4 } = change;
  const at = family === 4 ? "v4" : "v6";
  return {
    direction: "out",
    family,
    protocol: "tcp",
    action: "drop",
    ...change,
    local: { address: GUEST[at], port: 1000, ...change.local },
    remote: { address: HOST[at], ports: [22, 22], ...change.remote },
  };
}

const wide = { remote: { address: null, ports: null } };
/** One of each kind. */
export const assorted = [
  pattern(),
  pattern({ local: { port: 1001 }, action: "accept" }),
  pattern({ local: { port: 1002 }, action: "reject" }),
  pattern({ local: { port: 1003 }, action: "log", direction: "in" }),
  pattern({ family: 6, protocol: "udplite", remote: { address: "::ffff:192.0.2.7" } }),
  pattern({ local: { port: 53 }, remote: { address: "10.0.0.0/8", ports: [22, 25] } }),
  pattern({ local: { port: 53 }, ...wide, action: "accept" }),
  pattern({ local: { address: null, port: 80 }, remote: { address: null, ports: [1024, 65535] }, direction: "in" }),
  pattern({ local: { address: null, port: 81 }, remote: { address: null, ports: [1024, 65535] }, direction: "in" }),
  pattern({ local: { address: null, port: 82 }, ...wide, family: 6, direction: "in" }),
  pattern({ local: { address: "10.1.0.0/30", port: 83 }, ...wide, action: "reject" }),
  pattern({ local: { address: null, port: null }, ...wide, protocol: "udplite" }),
  pattern({ local: { port: null }, remote: { address: "10.9.0.0/16", ports: [53, 53] }, protocol: "udp" }),
];

export { planOf } from "../../lib/testing/plan.ts";
