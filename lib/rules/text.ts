import { formatDuration } from "./duration.ts";
import type { PortMatch, ProcessMatch, Rule } from "./rule.ts";
import { quote, type Token, tokenize } from "./tokens.ts";

const ACTIONS: Readonly<Record<string, Rule["action"]>> = {
  ...{ deny: "drop", drop: "drop", reject: "reject" },
  ...{ allow: "accept", accept: "accept", pass: "accept", log: "log" },
};

/** Reads one entry of a list; undefined: it is none. */
interface Read {
  readonly what: string;
  readonly read: (token: Token) => unknown;
}

const NUMBER: Read = { what: "a number", read: ({ value }) => (/^\d{1,15}$/.test(value) ? Number(value) : undefined) };
const NAME: Read = {
  what: "a name",
  read: ({ kind, value }) => (kind === "end" || kind === "comma" ? undefined : value),
};
const STATE: Read = { what: "a state", read: ({ kind, value }) => (kind === "word" ? value.toUpperCase() : undefined) };
const PROCESS: Read = { what: "a pid, or pid@start in nanoseconds", read: ({ value }) => readProcess(value) };
const PORT: Read = { what: "a port or a range of ports", read: ({ value }) => readPort(value) };

/** Words of the options that take a list, and the members they stand for, in the order in which they are printed. */
const LISTS = [
  ...[["uid", "uid", NUMBER] as const, ["process-uid", "processUid", NUMBER] as const],
  ...[["socket-uid", "socketUid", NUMBER] as const, ["login-uid", "loginUid", NUMBER] as const],
  ...[["gid", "gid", NUMBER] as const, ["pid", "pid", PROCESS] as const],
  ...[["comm", "comm", NAME] as const, ["cgroup", "cgroup", NAME] as const],
  ...[["netns", "netns", NUMBER] as const, ["state", "state", STATE] as const],
] as const;

/** @internal A text that is no rule. */
export class RuleTextError extends Error {}

/**
 * @internal What a rule's one-line form says, not yet validated: `deny tcp from any to any 22 out uid 1003`.
 *
 * @throws RuleTextError, which names the column
 */
export function readRuleText(line: string): Record<string, unknown> {
  const fail = (column: number, what: string): never => {
    throw new RuleTextError(`column ${column}: ${what}`);
  };
  const [tokens, comment] = tokenize(line, fail);
  const reader = new Reader(tokens, fail);
  const action = reader.oneOf(ACTIONS, "an action (deny, reject, allow or log)");
  const protocol = reader.list(word("a protocol (tcp, udp, udplite, ip)"));
  reader.keyword("from");
  const [from, fromPort] = reader.end();
  reader.keyword("to");
  const [to, toPort] = reader.end();
  const options = reader.options();
  // What enters the guest comes from the other end.
  const [local, localPort, remote, remotePort] =
    options.direction === "in" ? [to, toPort, from, fromPort] : [from, fromPort, to, toPort];
  const all = (names: unknown) => names === "ip" || names === "all";
  const members = {
    action,
    protocol: all(protocol) ? undefined : protocol,
    localPort,
    remotePort,
    ...options,
    comment: comment || undefined,
  };
  const rule = { ...members, localAddress: local, remoteAddress: remote };
  // What is empty stays, and is refused: left out, it would make the rule one for everybody.
  return Object.fromEntries(Object.entries(rule).filter(([, value]) => value !== undefined));
}

function word(what: string): Read {
  return { what, read: ({ kind, value }) => (kind === "word" ? value.toLowerCase() : undefined) };
}

function readProcess(value: string): unknown {
  const [, pid, startTime] = /^(\d{1,10})(?:@(\d{1,20}))?$/.exec(value) ?? [];
  if (pid === undefined) return undefined;
  return startTime === undefined ? Number(pid) : { pid: Number(pid), startTime: BigInt(startTime) };
}

function readPort(value: string): unknown {
  const [, from, to] = /^(\d{1,15})(?:-(\d{1,15}))?$/.exec(value) ?? [];
  if (from === undefined) return undefined;
  return to === undefined ? Number(from) : { from: Number(from), to: Number(to) };
}

/** Goes through a rule's tokens. */
class Reader {
  readonly #tokens: readonly Token[];
  readonly #fail: (column: number, what: string) => never;
  #at = 0;

  constructor(tokens: readonly Token[], fail: (column: number, what: string) => never) {
    this.#tokens = tokens;
    this.#fail = fail;
  }

  get #token(): Token {
    return this.#tokens[this.#at]!;
  }
  #expected(what: string): never {
    const { kind, value, column } = this.#token;
    return this.#fail(
      column,
      `${what} is expected, ${kind === "end" ? "and the rule ends" : `not ${JSON.stringify(value)}`}`,
    );
  }
  #is(keyword: string): boolean {
    return this.#token.kind === "word" && this.#token.value.toLowerCase() === keyword;
  }
  #accept(keyword: string): boolean {
    const is = this.#is(keyword);
    if (is) this.#at++;
    return is;
  }

  keyword(keyword: string): void {
    if (!this.#accept(keyword)) this.#expected(`"${keyword}"`);
  }

  oneOf<T>(table: Readonly<Record<string, T>>, what: string): T {
    const { kind, value } = this.#token;
    const name = value.toLowerCase();
    if (kind !== "word" || !Object.hasOwn(table, name)) return this.#expected(what);
    this.#at++;
    return table[name]!;
  }

  /** One entry, or several with commas between. */
  list({ what, read }: Read): unknown {
    const values: unknown[] = [];
    do {
      const value = read(this.#token);
      if (value === undefined) return this.#expected(what);
      values.push(value);
      this.#at++;
    } while (this.#token.kind === "comma" && this.#at++ >= 0);
    return values.length === 1 ? values[0] : values;
  }

  /** Addresses and ports; undefined: any. */
  end(): [addresses: unknown, ports: unknown] {
    const addresses = this.#accept("any") ? undefined : this.list(word(`an address, a network or "any"`));
    return [addresses, /^\d/.test(this.#token.value) ? this.list(PORT) : undefined];
  }

  options(): Record<string, unknown> {
    const options: Record<string, unknown> = {};
    while (this.#token.kind !== "end") {
      const start = this.#token;
      const [name, value] = this.#option();
      if (name in options)
        this.#fail(start.column, `"${start.value}" is there already: of a list, all entries stand in one place`);
      options[name] = value;
    }
    return options;
  }

  #option(): [name: string, value: unknown] {
    for (const direction of ["in", "out"]) if (this.#accept(direction)) return ["direction", direction];
    if (this.#accept("descendants")) return ["descendants", true];
    if (this.#accept("for")) return ["for", this.list({ ...word(""), what: `a time such as "10m"` })];
    for (const [keyword, name, read] of LISTS) if (this.#accept(keyword)) return [name, this.list(read)];
    const { column, value } = this.#token;
    if (value.startsWith("#")) this.#fail(column, `a comment behind a rule begins with "//"`);
    if (value.toLowerCase() === "port") this.#fail(column, "a port stands behind its address, as a number");
    const words = ["in", "out", ...LISTS.map(([keyword]) => keyword), "descendants", "for"];
    return this.#expected(`one of ${words.join(", ")}`);
  }
}

/** A rule's canonical one-line form, which reads back as the same rule. Of two rules with the same text one is enough. */
export function formatRule(rule: Rule): string {
  const local = formatEnd(rule.localAddress, rule.localPort);
  const remote = formatEnd(rule.remoteAddress, rule.remotePort);
  const [from, to] = rule.direction === "in" ? [remote, local] : [local, remote];
  const action = { drop: "deny", reject: "reject", accept: "allow", log: "log" }[rule.action];
  const words = [action, entries(rule.protocol).join(",") || "ip", "from", from, "to", to, rule.direction];
  for (const [keyword, name] of LISTS) {
    const values = entries<number | string | ProcessMatch>(rule[name]);
    if (values.length > 0) words.push(keyword, values.map(formatValue).join(","));
  }
  if (rule.descendants) words.push("descendants");
  if (rule.forMs !== undefined) words.push("for", formatDuration(rule.forMs));
  if (rule.comment) words.push("//", rule.comment);
  return words.filter((word) => word !== undefined).join(" ");
}

function formatValue(value: number | string | ProcessMatch): string {
  if (typeof value === "object") return `${value.pid}@${value.startTime}`;
  return typeof value === "string" ? quote(value) : String(value);
}

function formatEnd(addresses: Rule["localAddress"], ports: Rule["localPort"]): string {
  const address = entries(addresses).join(",") || "any";
  const port = entries(ports).map((port: PortMatch) => (typeof port === "number" ? port : `${port.from}-${port.to}`));
  return port.length === 0 ? address : `${address} ${port.join(",")}`;
}

/** @internal The entries of what may be left out, be one or be a list. */
export function entries<T>(value: T | readonly T[] | undefined): readonly T[] {
  if (value === undefined) return [];
  return Array.isArray(value) ? (value as readonly T[]) : [value as T];
}
