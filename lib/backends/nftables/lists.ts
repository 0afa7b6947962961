import type { FlowPattern } from "../../rules/pattern.ts";
import type { Json } from "./nft.ts";
import { match } from "./packets.ts";
import { actionOf, protocolNumber, protocolOf, verdictJson } from "./slots.ts";

/** A list's rule: what a pattern asks of packets beyond its slot's key, and its verdict. */
export function listRule(pattern: FlowPattern): Json {
  return [...asks(pattern), verdictJson(actionOf(pattern))];
}

/** The same in the rest, where packets come of any protocol and nothing else counts them. */
export function restRule(pattern: FlowPattern): Json {
  const protocol = match({ meta: { key: "l4proto" } }, protocolNumber(pattern.protocol));
  return [protocol, ...asks(pattern), { counter: null }, verdictJson(actionOf(pattern))];
}

/** A rule read back: what it asks, and its packets where it counts them. */
export interface ReadRule {
  readonly protocol: FlowPattern["protocol"] | null;
  readonly local: string | null;
  readonly remote: FlowPattern["remote"];
  readonly action: FlowPattern["action"];
  readonly packets: number | null;
}

/** Reads what `listRule` or `restRule` wrote, as nft prints it; undefined for anything else. */
export function readRule(side: string, expressions: Json): ReadRule | undefined {
  if (!Array.isArray(expressions)) return undefined;
  const read = {
    protocol: null as ReadRule["protocol"],
    local: null as string | null,
    remote: { address: null as string | null, ports: null as FlowPattern["remote"]["ports"] },
    action: null as ReadRule["action"] | null,
    packets: null as number | null,
  };
  const { near, far, farPort } = fieldsOf(side);
  for (const expression of expressions as Record<string, Json>[]) {
    const condition = expression.match as { left: Record<string, Record<string, Json>>; right: Json } | undefined;
    if (condition === undefined) {
      const { packets } = (expression.counter ?? {}) as { packets?: number };
      if (packets !== undefined) read.packets = packets;
      else if (read.action === null) read.action = readAction(expression);
      else return undefined;
      continue;
    }
    const { meta, payload } = condition.left;
    if (meta?.key === "l4proto") read.protocol = protocolOf(condition.right) ?? null;
    else if (payload?.field === near) read.local = readAddress(condition.right);
    else if (payload?.field === far) read.remote.address = readAddress(condition.right);
    else if (payload?.field === farPort) {
      // nft prints the protocol that it knows in place of "th".
      read.protocol ??= protocolOf(payload.protocol) ?? null;
      read.remote.ports = readPorts(condition.right);
    } else return undefined;
  }
  const { action, ...rest } = read;
  return action === null ? undefined : { ...rest, action };
}

/** The action of a verdict as `verdictJson` makes it, null for another. */
export function readAction(verdict: Json): FlowPattern["action"] | null {
  const said = verdict as { drop?: null; accept?: null; goto?: { target: string } };
  if (said.drop === null) return "drop";
  if (said.accept === null) return "accept";
  return (["reject", "log"] as const).find((action) => said.goto?.target.startsWith(`${action}_`)) ?? null;
}

/** Names of the guest's address and of the other end's in packets of a side, "out4". */
function fieldsOf(side: string): { near: string; far: string; farPort: string } {
  return side.startsWith("out")
    ? { near: "saddr", far: "daddr", farPort: "dport" }
    : { near: "daddr", far: "saddr", farPort: "sport" };
}

function asks({ direction, family, local, remote }: FlowPattern): Json[] {
  const { near, far, farPort } = fieldsOf(direction);
  const protocol = family === 4 ? "ip" : "ip6";
  const asked: Json[] = [];
  if (local.address !== null) asked.push(match({ payload: { protocol, field: near } }, address(local.address)));
  if (remote.address !== null) asked.push(match({ payload: { protocol, field: far } }, address(remote.address)));
  if (remote.ports !== null) {
    const [from, to] = remote.ports;
    asked.push(match({ payload: { protocol: "th", field: farPort } }, from === to ? from : { range: [from, to] }));
  }
  return asked;
}

function address(text: string): Json {
  const [addr = "", length] = text.split("/");
  return length === undefined ? addr : { prefix: { addr, len: Number(length) } };
}

function readAddress(value: Json): string {
  const { prefix } = value as { prefix?: { addr: string; len: number } };
  return prefix === undefined ? String(value) : `${prefix.addr}/${prefix.len}`;
}

function readPorts(value: Json): [number, number] {
  const { range } = value as { range?: [number, number] };
  return range ?? [Number(value), Number(value)];
}
