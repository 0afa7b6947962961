import { escapeText, escapeWord } from "../escape.ts";
import type { FilterEvent } from "../filter/index.ts";
import { formatRule, type PlannedPattern, type Rule } from "../rules/index.ts";
import { counted } from "./counted.ts";
import { messageInFlags } from "./library-options.ts";

/** "+ drop out tcp 10.0.0.2:40000 198.51.100.2:22  539/nc uid 1003  deny tcp from any to any 22 out uid 1003" */
export function formatPattern(pattern: PlannedPattern, rule: Rule | null): string {
  const { action, direction, protocol, family, local, remote, owner, reason } = pattern;
  const [from, to] = remote.ports ?? [];
  const ports = from === undefined ? "*" : from === to ? `${from}` : `${from}-${to}`;
  const ends = `${end(local.address, `${local.port ?? "*"}`)} ${end(remote.address, ports)}`;
  const who = owner
    ? ` of ${owner.pid}/${escapeWord(owner.comm, /^[^\s/"]+$/)} uid ${owner.uid ?? "-"}`
    : reason === "matched"
      ? ""
      : ` (${reason})`;
  const by = rule ? ` by "${escapeText(formatRule(rule))}"` : "";
  return `${action} ${direction} ${protocol}${family === 6 ? "6" : ""} ${ends}${who}${by}`;
}

function end(address: string | null, port: string): string {
  return address?.includes(":") ? `[${address}]:${port}` : `${address ?? "*"}:${port}`;
}

/**
 * What of a plan cannot be enforced, each thing once: what leaves the guest past all rules in front, and of what never leaves it how
 * much there is. Not yet escaped.
 */
export function formatUnenforceable(
  entries: readonly { readonly reason: string; readonly what: string; readonly by?: string }[],
): string[] {
  const inside = entries.filter(({ reason }) => reason === "loopback").length;
  const leaving = entries.filter(({ reason }) => reason !== "loopback");
  const open = leaving.filter(({ reason }) => reason === "nat");
  const times = new Map<string, number>();
  for (const { reason, what, by } of [...open, ...leaving.filter(({ reason }) => reason !== "nat")]) {
    const line = `cannot be enforced: ${what} (${reason})${by === undefined ? "" : `, by "${by}"`}`;
    times.set(line, (times.get(line) ?? 0) + 1);
  }
  const lines = Array.from(times, ([line, count]) => (count === 1 ? line : `${line}, ${count} times`));
  if (inside > 0) lines.push(`cannot be enforced: ${counted(inside, "flow")} within the guest (loopback)`);
  return lines;
}

/** One line for people; the time in front is where the reader is. */
export function formatFilterEvent(event: FilterEvent): string {
  const iso = new Date(event.time).toISOString();
  return `${new Date(event.time).toTimeString().slice(0, 8)}${iso.slice(19, 23)} ${happened(event)}`;
}

function happened(event: FilterEvent): string {
  switch (event.type) {
    case "set":
      return `+ ${formatPattern(event.pattern, event.rule)}`;
    case "cleared": {
      const packets = event.packets === null ? "" : `, ${counted(event.packets, "packet")}`;
      return `- ${formatPattern(event.pattern, event.rule)} (${event.why}${packets})`;
    }
    case "unenforceable":
      return `! cannot be enforced: ${escapeText(event.what)} (${event.reason}), by "${escapeText(formatRule(event.matched))}"`;
    case "repaired":
      return `! the firewall had been changed, and was repaired: ${escapeText(event.problems.join("; "))}`;
    case "rebound": {
      const devices = event.interfaces.map(({ name }) => escapeText(name)).join(", ");
      return `! the guest's devices are others than before: ${devices ? `in force at ${devices}` : "it has none, and nothing is in force"}`;
    }
    case "failed":
      return `! failed, and is tried again: ${event.error.code}: ${escapeText(messageInFlags(event.error))}`;
    case "unreadable":
      return `! the guest cannot be read (${event.applied}): ${event.error.code}: ${escapeText(event.error.message)}`;
    case "readable":
      return "! the guest can be read again";
    case "booted":
      return "! the guest booted anew";
    case "expired":
      return `! the time of a rule is over: "${escapeText(formatRule(event.rule))}"`;
    case "overrun":
      return `! polls left out because one took too long: ${event.missedPolls}`;
    case "dropped":
      return `! events lost: ${event.count}`;
    case "ended":
      return event.error ? `! ended: ${event.error.code}: ${escapeText(event.error.message)}` : "! stopped";
  }
}
