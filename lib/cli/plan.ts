import type { Command } from "commander";
import { nftables } from "../backends/index.ts";
import { requireCapable, withinCapabilities } from "../filter/capabilities.ts";
import { patternJson } from "../filter/event-json.ts";
import { createPlan, emptyPlanState, formatRule, type Rule } from "../rules/index.ts";
import { type Context, guestCommand, type Invocation } from "./command.ts";
import { formatPattern, formatUnenforceable } from "./filter-event.ts";
import { RULES_HELP, readRules } from "./rules-file.ts";

export function planCommand(context: Context): Command {
  const command = guestCommand(
    "plan",
    "print what rules would put in force for a guest as it is, and change nothing",
    context,
    async (invocation) => plan(invocation, await readRules(command.opts<{ rules: string }>().rules, invocation)),
  );
  return command.requiredOption("--rules <FILE>", RULES_HELP);
}

async function plan({ snapshot, output, json, warn }: Invocation, rules: readonly Rule[]): Promise<void> {
  const now = Date.now();
  // As `filter` would have it.
  const { capabilities, name } = nftables();
  requireCapable(rules, capabilities, name);
  const made = createPlan({ snapshot: await snapshot(), rules, state: emptyPlanState(), now });
  const plan = withinCapabilities(made.plan, capabilities);
  const ruleOf = (index: number | null) => (index === null ? null : rules[index]!);
  if (json) {
    await output.json(plan.patterns.map((pattern) => patternJson(pattern, ruleOf(pattern.rule))));
    await output.json(
      plan.unenforceable.map(({ rule, sock, ...rest }) => ({
        ...{ unenforceable: true, rule: formatRule(rules[rule]!), sock: `0x${sock.toString(16)}` },
        ...rest,
      })),
    );
    return;
  }
  await output.lines(plan.patterns.map((pattern) => formatPattern(pattern, ruleOf(pattern.rule))));
  const unenforceable = plan.unenforceable.map((entry) => ({ ...entry, by: formatRule(rules[entry.rule]!) }));
  for (const line of formatUnenforceable(unenforceable)) warn(line);
}
