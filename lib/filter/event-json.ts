import type { PlannedPattern } from "../rules/pattern.ts";
import type { Rule } from "../rules/rule.ts";
import { formatRule } from "../rules/text.ts";
import type { FilterEvent } from "./event.ts";

/** @internal An event in JSON: addresses of the guest's kernel are hex strings, a rule is its one-line form. The audit file's lines. */
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
    case "expired":
      return { time, event: event.type, rule: formatRule(event.rule) };
    default: {
      const { type, time: _, ...rest } = event;
      return { time, event: type, ...rest };
    }
  }
}

/** @internal A pattern in JSON, with its rule's one-line form. */
export function patternJson(pattern: PlannedPattern, rule: Rule | null): Record<string, unknown> {
  const { action, direction, family, protocol, local, remote, owner, sock, reason, key } = pattern;
  return {
    ...{ action, direction, family, protocol, local, remote, rule: rule && formatRule(rule), owner },
    ...{ sock: sock === null ? null : `0x${sock.toString(16)}`, reason, key },
  };
}
