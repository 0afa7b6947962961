import { argumentRangeError, invalidOption } from "../../errors.ts";
import { checkKeys } from "../../options.ts";
import { formatNetwork, isAddress, parseNetwork } from "../../rules/network.ts";
import { comesPast, decidingPattern, type Packet } from "../../rules/packet.ts";
import type { FlowPattern } from "../../rules/pattern.ts";
import type { RuleAction } from "../../rules/rule.ts";
import { notPermitted, type Program, refusal, runProgram } from "../program.ts";
import type { KeyedPattern } from "./rule.ts";

/** Which entries of the host's connection tracking go when a flow is blocked. */
export interface FlushConntrackOptions {
  /** The zone of this guest's traffic and of nobody else's, 1 to 65,535. */
  readonly zone: number;
}

const MAX_ZONE = 65_535;
/** A guest decides how many entries there are, and each that goes takes a listing of the zone. Polls do not wait for all of them. */
const BUDGET_MS = 1_000;
const CONNTRACK: Program = { name: "conntrack", package: "conntrack", look: "conntrack -L" };

/** A packet's two ends, as `conntrack -L` prints them. */
const ENDS = String.raw`src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+)`;
/** An entry: what the side that opened it sends, and what the other one answers; ICMP has no ports. */
const ENTRY = new RegExp(String.raw`^(ipv[46]) +\d+ (tcp|udp|udplite) .*?${ENDS} .*?${ENDS} .*\bzone=(\d+)`);

interface Entry {
  readonly family: string;
  readonly protocol: FlowPattern["protocol"];
  readonly opened: Ends;
  readonly answered: Ends;
}

interface Ends {
  readonly from: Packet["local"];
  readonly to: Packet["local"];
}

/**
 * A guest's zone of the host's connection tracking, from which the entries of blocked flows are deleted: as long as one is there, a flowtable
 * forwards its packets past FORWARD, and an address translation stays as it was made.
 *
 * What conntrack-tools cannot ask for, networks and ranges of ports, is asked here, of the zone's entries as they are listed. Then each is deleted
 * by all that it is.
 */
export class ConntrackZone {
  readonly #zone: number;
  #patterns: readonly KeyedPattern[] = [];
  /** Keys of the patterns in force whose entries are not gone yet. */
  #fresh: ReadonlySet<string> = new Set();

  /** @throws TypeError, RangeError with the code ERR_INVALID_OPTION */
  constructor(options: FlushConntrackOptions) {
    checkKeys(options, ["zone"], "the options of flushConntrack");
    const { zone } = options;
    if (!Number.isInteger(zone)) throw invalidOption("flushConntrack has no zone, a whole number");
    if (zone === 0) {
      const why =
        "flushConntrack.zone is a zone of this guest's own, not 0, which is everybody's: others may have its addresses";
      throw argumentRangeError(
        "ERR_INVALID_OPTION",
        `${why}. Give its traffic one (iptables: -t raw -j CT --zone; nft: ct zone set).`,
      );
    }
    if (zone < 0 || zone > MAX_ZONE)
      throw argumentRangeError(
        "ERR_INVALID_OPTION",
        `flushConntrack.zone is a number from 1 to ${MAX_ZONE}, not ${zone}.`,
      );
    this.#zone = zone;
  }

  /** Asks whether entries can be deleted, and deletes none. */
  async open(signal: AbortSignal): Promise<void> {
    await run(["--count"], signal);
    this.#patterns = [];
    this.#fresh = new Set();
  }

  /** `patterns` are in force, in this order; `mended`: they were not all the time. Deletes the entries of what they block and did not block so far. */
  async flush(patterns: readonly KeyedPattern[], mended: boolean, signal: AbortSignal): Promise<void> {
    const before = this.#patterns;
    // Where an exception goes, something is blocked that was not.
    const all = mended || keysOf(patterns, comesPast).join("\n") !== keysOf(before, comesPast).join("\n");
    const gone = new Set(all ? [] : keysOf(before, blocks).filter((key) => !this.#fresh.has(key)));
    this.#patterns = patterns;
    this.#fresh = new Set(keysOf(patterns, blocks).filter((key) => !gone.has(key)));
    await this.goOn(signal);
  }

  /** Deletes what there was no time for: one entry at least, however long a listing takes. One that stays keeps no others. */
  async goOn(signal: AbortSignal): Promise<void> {
    if (this.#fresh.size === 0) return;
    const end = performance.now() + BUDGET_MS;
    const plan = new IndexedPlan(this.#patterns);
    const zone = String(this.#zone);
    const listed = await run(["--dump", "--zone", zone, "--output", "extended"], signal);
    const failures: unknown[] = [];
    let left = false;
    let deletions = 0;
    for (const line of listed.split("\n")) {
      const entry = readEntry(line, zone);
      if (entry === undefined || !plan.deciding(entry).some(({ key }) => this.#fresh.has(key))) continue;
      left = deletions++ > 0 && performance.now() > end;
      if (left) break;
      const { family, protocol, opened } = entry;
      const ends = ["--src", opened.from.address, "--dst", opened.to.address];
      const ports = ["--sport", `${opened.from.port}`, "--dport", `${opened.to.port}`];
      const words = ["--delete", "--zone", zone, "--family", family, "--protonum", protocol, ...ends, ...ports];
      await run(words, signal).catch((error) => failures.push(error));
      signal.throwIfAborted();
    }
    if (failures.length > 0) throw failures[0];
    if (!left) this.#fresh = new Set();
  }
}

const blocks = (action: RuleAction) => !comesPast(action);

function keysOf(patterns: readonly KeyedPattern[], are: (action: RuleAction) => boolean): string[] {
  return patterns.flatMap(({ action, key }) => (are(action) ? [key] : []));
}

/** A plan that is asked of many flows. */
class IndexedPlan {
  /** Places of patterns by all of the guest's end; and of those that name less of it. */
  readonly #exact = new Map<string, number[]>();
  readonly #others: number[] = [];
  readonly #patterns: readonly KeyedPattern[];

  constructor(patterns: readonly KeyedPattern[]) {
    this.#patterns = patterns;
    for (const [place, { protocol, local }] of patterns.entries()) {
      const network = local.address === null ? undefined : parseNetwork(local.address);
      if (network === undefined || !isAddress(network) || local.port === null) this.#others.push(place);
      else {
        const key = `${protocol} ${formatNetwork(network)} ${local.port}`;
        const places = this.#exact.get(key);
        if (places) places.push(place);
        else this.#exact.set(key, [place]);
      }
    }
  }

  /** What blocks an entry's packets. Either of its ends may be the guest's: a pattern without an address of the guest does not tell which. */
  deciding({ protocol, opened, answered }: Entry): KeyedPattern[] {
    const sides = [opened, answered].flatMap(({ from: local, to: remote }) => [
      { protocol, local, remote, direction: "out" } as const,
      { protocol, local, remote, direction: "in" } as const,
    ]);
    return sides.flatMap((packet) => {
      const { address, port } = packet.local;
      const places = [...(this.#exact.get(`${protocol} ${address} ${port}`) ?? []), ...this.#others];
      const decides = decidingPattern(
        places.sort((a, b) => a - b).map((place) => this.#patterns[place]!),
        packet,
      );
      return decides && decides.local.address !== null && blocks(decides.action) ? [decides] : [];
    });
  }
}

function readEntry(line: string, zone: string): Entry | undefined {
  const [, family, protocol, ...words] = ENTRY.exec(line) ?? [];
  if (family === undefined || words[8] !== zone) return undefined;
  const [opened, answered] = [words.slice(0, 4), words.slice(4, 8)].map(([from, to, fromPort, toPort]) => {
    return { from: end(from!, fromPort!), to: end(to!, toPort!) };
  });
  return { family, protocol: protocol as Entry["protocol"], opened: opened!, answered: answered! };
}

function end(text: string, port: string): Packet["local"] {
  const network = parseNetwork(text);
  return { address: network === undefined ? text : formatNetwork(network), port: Number(port) };
}

async function run(words: readonly string[], signal: AbortSignal): Promise<string> {
  const { output, messages, status } = await runProgram(CONNTRACK, words, null, signal);
  // One that ended meanwhile is gone, too.
  if (status === 0 || / 0 flow entries have been deleted/.test(messages)) return output;
  if (/must be root|not permitted|permission denied/i.test(messages)) throw notPermitted();
  throw refusal(CONNTRACK, messages.replace(/^conntrack v\S+ \([\w-]+\):/, "").trim(), status);
}
