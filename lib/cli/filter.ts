import { type Command, Option } from "commander";
import { dryRun } from "../backends/index.ts";
import { toXFilterError } from "../errors.ts";
import { eventJson } from "../filter/event-json.ts";
import { createFilter, type Filter, type FilterEvent } from "../filter/index.ts";
import { parseRule, type Rule } from "../rules/index.ts";
import { targetName } from "../sources/target.ts";
import { Audit } from "./audit.ts";
import { type Context, guestCommand, type Invocation, notEmpty } from "./command.ts";
import { counted } from "./counted.ts";
import { parseDuration } from "./duration.ts";
import { formatFilterEvent } from "./filter-event.ts";
import { DAY_MS, type FilterFlags, wholeNumber, withFlags } from "./filter-flags.ts";
import { FIREWALLS } from "./firewalls.ts";
import { removeLeftovers } from "./leftovers.ts";
import { MetricsFile } from "./metrics-file.ts";
import { OutputError } from "./output.ts";
import { RULES_HELP, readRules } from "./rules-file.ts";
import { ServiceManager } from "./service-manager.ts";
import { STATE_DIRECTORY, StatusFile } from "./status-file.ts";

export function filterCommand(context: Context): Command {
  let rules: readonly Rule[] = [];
  const command: Command = guestCommand(
    "filter",
    "keep the firewall in step with rules and the guest's processes, until Ctrl-C",
    context,
    (invocation) => filter(invocation, rules, command.opts<FilterFlags>()),
  ).hook("preAction", async () => {
    // What is wrong with them is told also while there is no guest.
    rules = await readRules(command.opts<FilterFlags>().rules, context);
  });
  return withFlags(command.requiredOption("--rules <FILE>", RULES_HELP));
}

export function blockCommand(context: Context): Command {
  let rules: readonly Rule[] = [];
  const command: Command = guestCommand(
    "block",
    "drop what one user or process sends and receives, until Ctrl-C",
    context,
    (invocation) => filter(invocation, rules, command.opts<FilterFlags>(), "until its time is over"),
  ).hook("preAction", () => {
    const { uid, pid, comm } = command.opts<BlockFlags>();
    // It would be the whole guest.
    if (uid === undefined && pid === undefined && comm === undefined)
      command.error("error: it takes --uid, --pid or --comm");
    rules = [ruleOf(command.opts())];
  });
  return withFlags(
    command
      .option("--uid <UID>", "user: real or effective id of a process, or who made the socket", wholeNumber)
      .option("--pid <PID>", "process", wholeNumber)
      .option("--comm <NAME>", "command name", notEmpty)
      .option("--protocol <NAME>", "tcp, udp or udplite", notEmpty)
      .option("--remote-port <PORT>", "port of the other end", wholeNumber)
      .option("--local-port <PORT>", "port of the guest's end", wholeNumber)
      .option("--remote-address <ADDRESS>", "address or network of the other end", notEmpty)
      .addOption(new Option("--direction <WAY>", "seen from the guest; default: both").choices(["in", "out"]))
      .option("--for <TIME>", "how long", parseDuration(DAY_MS)),
  );
}

interface BlockFlags extends Partial<Omit<Rule, "action" | "forMs">> {
  readonly for?: number;
}

/** What is not given stays out of the rule; what is wrong with it is told of the options. */
function ruleOf({
  uid,
  pid,
  comm,
  protocol,
  remotePort,
  localPort,
  remoteAddress,
  direction,
  for: forMs,
}: BlockFlags): Rule {
  const who = { uid, pid, comm };
  const what = { protocol, remotePort, localPort, remoteAddress, direction, forMs };
  const given = Object.entries({ ...who, ...what }).filter(([, value]) => value !== undefined);
  try {
    return parseRule({ action: "drop", ...Object.fromEntries(given) });
  } catch (error) {
    const flag = (name: string) => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    if (error instanceof Error) error.message = error.message.replace(/\brule\.(\w+)/g, (_, name) => flag(name));
    throw error;
  }
}

async function filter(
  invocation: Invocation,
  rules: readonly Rule[],
  flags: FilterFlags,
  ends?: "until its time is over",
): Promise<void> {
  const { guest, runs, output, signal, json, warn } = invocation;
  const { keep = false } = flags;
  const id = targetName(invocation.target);
  const dry = flags.backend === "dry-run";
  const zone = flags.flushConntrackZone;
  const options = zone === undefined ? {} : { flushConntrack: { zone } };
  const backend =
    flags.backend === "dry-run"
      ? dryRun({ write: () => {}, like: FIREWALLS[flags.like ?? "nftables"]({}) })
      : FIREWALLS[flags.backend](options);
  if (dry && flags.state !== STATE_DIRECTORY) warn("--state is not used: dry-run keeps nothing");
  const filter = createFilter({
    ...{ guest, rules, backend, id, intervalMs: flags.interval },
    ...(flags.interface && { interfaces: flags.interface }),
    // What changes no firewall needs no device, and an image has none.
    ...(!flags.interface && dry && !runs && { interfaces: [] }),
    // What changes nothing is not to be taken for what does.
    ...(!dry && { stateDirectory: flags.state }),
    ...(flags.hold && { hold: flags.hold }),
    ...(flags.onUnreadable && { onUnreadable: flags.onUnreadable }),
    ...(flags.lease && { onAgentDeath: { leaseMs: flags.lease } }),
    ...(flags.neverBlock && { neverBlock: flags.neverBlock }),
  });
  const audit = flags.audit === undefined ? null : new Audit(flags.audit, warn);
  const status = dry ? null : new StatusFile(flags.state, id, () => filter.status(), warn);
  const metrics = flags.metrics === undefined ? null : await MetricsFile.create(flags.metrics, warn);
  const manager = ServiceManager.of(process.env, warn);
  // Two consumers: a terminal that stands still keeps nothing out of the audit file.
  const recorded = record(filter.events(), audit, status);
  const events = filter.events();
  const interrupt = () => void filter.stop({ keep }).catch(() => {});
  signal.addEventListener("abort", interrupt, { once: true });
  try {
    signal.throwIfAborted();
    await filter.start();
    status?.begin();
    if (!dry) await removeLeftovers(id, backend.name, signal, warn);
    await metrics?.update();
    const devices = filter.status().interfaces.map(({ name }) => name);
    const what = `filtering ${devices.join(", ") || "no device"} by ${counted(rules.length, "rule")} with ${backend.name}`;
    if (!json) await orWarn(() => output.lines([what]), invocation);
    await manager?.ready(what, process.env);
    for await (const event of events) {
      await print(event, invocation);
      if (event.type === "ended" && event.error) throw event.error;
      if (event.type === "expired" && ends) break;
    }
  } finally {
    signal.removeEventListener("abort", interrupt);
    await stopped(filter, keep, warn).finally(async () => {
      await recorded;
      await metrics?.end();
      manager?.ended();
      status?.end(keep);
      audit?.close();
    });
  }
}

/** Until the filter ends. */
async function record(events: AsyncIterable<FilterEvent>, audit: Audit | null, status: StatusFile | null) {
  for await (const event of events) {
    audit?.write(eventJson(event));
    status?.changed();
  }
}

async function print(event: FilterEvent, invocation: Invocation): Promise<void> {
  const { output, json } = invocation;
  const line = () => (json ? output.json([eventJson(event)]) : output.lines([formatFilterEvent(event)]));
  await orWarn(line, invocation);
}

/** Neither a full disk under the output nor a reader of it who has enough lets anybody go who is to be blocked. */
async function orWarn(print: () => Promise<void>, { output, signal, warn }: Invocation): Promise<void> {
  // Ctrl-C is how this ends; what it released is in the audit file.
  if (signal.aborted || output.gone) return;
  try {
    await print();
    if (output.gone) warn("nobody reads what this prints any more; it goes on filtering, until Ctrl-C or SIGTERM");
  } catch (error) {
    if (error instanceof OutputError) warn(error.message);
    else if (!signal.aborted) throw error;
  }
}

/** What stays in the firewall against the user's will is said, however the command ends. */
async function stopped(filter: Filter, keep: boolean, warn: (message: string) => void): Promise<void> {
  try {
    await filter.stop({ keep });
  } catch (error) {
    const { code, message } = toXFilterError(error);
    warn(`what is in force could not be taken out of the firewall (xfilter clear does): ${code}: ${message}`);
    throw error;
  }
}
