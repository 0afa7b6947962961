import type { FilterEvent } from "../filter/index.ts";
import { formatRule, type PlannedPattern, type Rule } from "../rules/index.ts";
import { escapeText, escapeWord } from "./escape.ts";

/** An event in JSON: addresses of the guest's kernel are hex strings, a rule is its one-line form. The audit file's lines. */
export function eventJson(event: FilterEvent): Record<string, unknown> {
  const time = new Date(event.time).toISOString();
  switch (event.type) {
    case "set":
      return { time, event: event.type, ...patternJson(event.pattern, event.rule) };
    case "cleared":
      return {
        time,
        event: event.type,
        ...patternJson(event.pattern, event.rule),
        why: event.why,
        packets: event.packets,
      };
    case "unenforceable": {
      const { reason, owner, sock, what, matched } = event;
      return {
        time,
        event: event.type,
        rule: formatRule(matched),
        owner,
        sock: `0x${sock.toString(16)}`,
        reason,
        what,
      };
    }
    case "failed":
    case "unreadable":
    case "ended": {
      const { type, time: _, error, ...rest } = event;
      return { time, event: type, error: error && { code: error.code, message: error.message }, ...rest };
    }
    default: {
      const { type, time: _, ...rest } = event;
      return { time, event: type, ...rest };
    }
  }
}

/** A pattern in JSON, with its rule's one-line form. */
export function patternJson(pattern: PlannedPattern, rule: Rule | null): Record<string, unknown> {
  const { action, direction, family, protocol, local, remote, owner, sock, reason, key } = pattern;
  return {
    ...{ action, direction, family, protocol, local, remote, rule: rule && formatRule(rule), owner },
    ...{ sock: sock === null ? null : `0x${sock.toString(16)}`, reason, key },
  };
}

/** "+ drop out tcp 10.0.0.2:40000 198.51.100.2:22  539/nc uid 1003  deny tcp from any to any 22 out uid 1003" */
export function formatPattern(pattern: PlannedPattern, rule: Rule | null): string {
  const { action, direction, protocol, family, local, remote, owner, reason } = pattern;
  const [from, to] = remote.ports ?? [];
  const ports = from === undefined ? "*" : from === to ? `${from}` : `${from}-${to}`;
  const ends = `${end(local.address, `${local.port ?? "*"}`)} ${end(remote.address, ports)}`;
  const who = owner ? `${owner.pid}/${escapeWord(owner.comm, /^[^\s/"]+$/)} uid ${owner.uid ?? "-"}` : `(${reason})`;
  const by = rule ? ` by "${escapeText(formatRule(rule))}"` : "";
  return `${action} ${direction} ${protocol}${family === 6 ? "6" : ""} ${ends} of ${who}${by}`;
}

function end(address: string | null, port: string): string {
  return address?.includes(":") ? `[${address}]:${port}` : `${address ?? "*"}:${port}`;
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
      const packets = event.packets === null ? "" : `, ${event.packets} packets`;
      return `- ${formatPattern(event.pattern, event.rule)} (${event.why}${packets})`;
    }
    case "unenforceable":
      return `! cannot be enforced: ${escapeText(event.what)} (${event.reason}), by "${escapeText(formatRule(event.matched))}"`;
    case "repaired":
      return `! the firewall had been changed, and was repaired: ${escapeText(event.problems.join("; "))}`;
    case "rebound": {
      const devices = event.interfaces.map(({ name }) => escapeText(name)).join(", ");
      return `! the guest's devices are others than before: in force at ${devices}`;
    }
    case "failed":
      return `! failed, and is tried again: ${event.error.code}: ${escapeText(event.error.message)}`;
    case "unreadable":
      return `! the guest cannot be read (${event.applied}): ${event.error.code}: ${escapeText(event.error.message)}`;
    case "readable":
      return "! the guest can be read again";
    case "booted":
      return "! the guest booted anew";
    case "overrun":
      return `! polls left out because one took too long: ${event.missedPolls}`;
    case "dropped":
      return `! events lost: ${event.count}`;
    case "ended":
      return event.error ? `! ended: ${event.error.code}: ${escapeText(event.error.message)}` : "! stopped";
  }
}
