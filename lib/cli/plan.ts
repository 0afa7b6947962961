import type { Command } from "commander";
import type { BackendCapabilities } from "../backends/backend.ts";
import { requireCapable, withinCapabilities } from "../filter/capabilities.ts";
import { patternJson } from "../filter/event-json.ts";
import { createPlan, emptyPlanState, formatRule, type Rule } from "../rules/index.ts";
import { targetName } from "../sources/target.ts";
import { type Context, guestCommand, type Invocation } from "./command.ts";
import { formatPattern, formatUnenforceable } from "./filter-event.ts";
import { FIREWALLS, type FirewallName, firewallOption } from "./firewalls.ts";
import { RULES_HELP, readRules } from "./rules-file.ts";

export function planCommand(context: Context): Command {
  let rules: readonly Rule[] = [];
  const command: Command = guestCommand(
    "plan",
    "print what rules would put in force for a guest as it is, and change nothing",
    context,
    (invocation) => plan(invocation, rules, command.opts<{ backend?: FirewallName }>().backend),
  ).hook("preAction", async () => {
    rules = await readRules(command.opts<{ rules: string }>().rules, context);
  });
  return command
    .requiredOption("--rules <FILE>", RULES_HELP)
    .addOption(firewallOption("--backend", "what would hold them: what it cannot do for a guest that runs is refused"));
}

async function plan(invocation: Invocation, rules: readonly Rule[], firewall?: FirewallName): Promise<void> {
  const { snapshot, output, json, warn } = invocation;
  const now = Date.now();
  // As `filter` would have it.
  const backend = firewall ?? "nftables";
  const opened = firewall !== undefined && invocation.runs;
  const capabilities = opened ? await capabilitiesAt(backend, invocation) : FIREWALLS[backend]({}).capabilities;
  requireCapable(rules, capabilities, backend);
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

/** What a backend can do at the guest's devices, which takes the privileges that it takes; it changes nothing. */
async function capabilitiesAt(name: FirewallName, { guest, target, signal }: Invocation): Promise<BackendCapabilities> {
  const backend = FIREWALLS[name]({});
  const interfaces = await guest.interfaces();
  await backend.open({ id: targetName(target), bootId: "", interfaces }, { signal, leaseMs: null });
  const { capabilities } = backend;
  await backend.close({ keep: true });
  return capabilities;
}
