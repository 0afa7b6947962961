import type { FlowPattern, Plan } from "../../lib/rules/pattern.ts";
import { patternKey } from "../../lib/rules/pattern-key.ts";
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

export function planOf(patterns: readonly FlowPattern[]): Plan {
  return {
    unenforceable: [],
    patterns: patterns.map((flow) => ({
      ...flow,
      key: patternKey(flow),
      rule: 0,
      owner: null,
      sock: null,
      reason: "matched" as const,
    })),
  };
}
