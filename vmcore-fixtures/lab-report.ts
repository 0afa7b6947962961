export interface LabEndpoint {
  readonly protocol: "tcp" | "udp";
  readonly family: 4 | 6;
  readonly port: number;
}

/** What one who answers heard of a flow: guest/live/lab_serve.c. */
export interface Heard extends LabEndpoint {
  readonly source: string;
  readonly sourcePort: number;
  /** Who says that it is his; 0 while nothing came. */
  readonly uid: number;
  readonly flow: number;
  /** Arrival of the first and the last byte, in nanoseconds, as `process.hrtime.bigint()` counts; 0n: nothing came. */
  readonly first: bigint;
  readonly last: bigint;
  readonly bytes: number;
  /** Datagrams that were passed over, and bytes that are not what they have to be. */
  readonly gaps: number;
  readonly wrong: number;
  readonly state: "open" | "closed" | "reset";
}

export interface HeardReport {
  readonly now: bigint;
  readonly heard: readonly Heard[];
}

/** What one who talks knows of a flow that he holds: guest/live/lab_talk.c. */
export interface Held extends LabEndpoint {
  readonly localPort: number;
  readonly flow: number;
  readonly sent: number;
  readonly echoed: number;
  readonly wrong: number;
  /** How often a datagram was answered by an ICMP error. */
  readonly refused: number;
  readonly open: boolean;
  /** The error that ended it, as in errno.h, or "". */
  readonly error: string;
}

/** Of the flows that he opens, sends a little on, and closes. */
export interface Opened extends LabEndpoint {
  readonly opened: number;
  readonly done: number;
  readonly failed: number;
}

export interface TalkReport {
  readonly uid: number;
  readonly talker: number;
  readonly quiet: boolean;
  /** Grandparent, parent (0 without a lineage) and himself. */
  readonly pids: readonly [number, number, number];
  readonly held: readonly Held[];
  readonly opened: readonly Opened[];
}

export function parseHeard(text: string): HeardReport {
  const { now, heard } = JSON.parse(text) as { now: string; heard: (Heard & { first: string; last: string })[] };
  const flows = heard.map((flow) => ({ ...flow, first: BigInt(flow.first), last: BigInt(flow.last) }));
  return { now: BigInt(now), heard: flows };
}

const name = ({ protocol, family, port }: LabEndpoint) => `${protocol}${family} to port ${port}`;

/** The upper half of a flow's number, without the bit of the quiet: guest/live/lab.h. */
const talkerOf = (flow: number) => Math.floor(flow / 2 ** 24) % 2 ** 26;

/** What was lost of all that somebody sent who was told to stop: a line each. Nothing is left out, and nothing is rounded. */
export function losses(stopped: TalkReport, { heard }: HeardReport): string[] {
  const found: string[] = [];
  const own = heard.filter(({ uid, flow }) => uid === stopped.uid && talkerOf(flow) === stopped.talker);
  for (const flow of stopped.held) {
    const there = own.find((candidate) => candidate.flow === flow.flow);
    const label = `${name(flow)} from ${flow.localPort}`;
    if (flow.error !== "" || flow.open) found.push(`${label}: not ended by us (${flow.error || "open"})`);
    if ((flow.sent !== flow.echoed && !stopped.quiet) || flow.wrong > 0)
      found.push(`${label}: ${flow.echoed} of ${flow.sent} bytes back`);
    if (flow.sent !== (there?.bytes ?? 0)) found.push(`${label}: ${there?.bytes ?? 0} of ${flow.sent} bytes arrived`);
    if (flow.refused > 0) found.push(`${label}: refused ${flow.refused} times`);
  }
  for (const { opened, done, failed, ...endpoint } of stopped.opened)
    if (done !== opened || failed > 0) found.push(`${name(endpoint)}: ${failed} failed, ${done} of ${opened} done`);
  for (const { gaps, wrong, state, sourcePort, ...endpoint } of own)
    if (gaps > 0 || wrong > 0 || state === "reset")
      found.push(`${name(endpoint)} from ${sourcePort}: ${gaps} gaps, ${wrong} wrong bytes, ${state}`);
  return found;
}
