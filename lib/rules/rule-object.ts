import * as v from "valibot";
import { parseDuration } from "./duration.ts";
import { networkProblem } from "./network.ts";

const ID_MAX = 0xffffffff;
const LIST_MAX = 1_000;
const DAYS_MAX = 366;
const FOR_MAX = DAYS_MAX * 86_400_000;
const STATES = [
  ...["ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT"],
  ...["LAST_ACK", "LISTEN", "CLOSING", "UNCONN", "UNKNOWN"],
] as const;

function wholeNumber(what: string, least: number, most: number) {
  const message = `is not ${what}: a whole number from ${least} to ${most}`;
  return v.pipe(v.number(message), v.integer(message), v.minValue(least, message), v.maxValue(most, message));
}

/** One of something, or a list. */
function oneOrMore<const One extends v.GenericSchema>(one: One, what: string) {
  const empty = "is an empty list, which matches nothing: leave it out to match everything";
  const list = v.pipe(v.array(one), v.minLength(1, empty), v.maxLength(LIST_MAX, `has more than ${LIST_MAX} entries`));
  return v.optional(v.union([one, list], `is neither ${what} nor a list of such`));
}

function text(what: string, most: number) {
  return v.pipe(
    v.string(`is not ${what}`),
    v.nonEmpty("is empty: leave it out"),
    v.maxLength(most, `is longer than ${most} characters`),
    v.regex(/^[^\p{Cc}\u2028\u2029]*$/u, "holds control characters or ends of lines"),
  );
}

const network = v.pipe(
  v.string("is not an address or a network"),
  v.rawCheck(({ dataset, addIssue }) => {
    const message = dataset.typed ? networkProblem(dataset.value) : undefined;
    if (message !== undefined) addIssue({ message });
  }),
);

const port = wholeNumber("a port", 0, 0xffff);
const portMatch = v.union(
  [
    port,
    v.pipe(
      v.strictObject({ from: port, to: port }),
      v.check(({ from, to }) => from <= to, "ends before it begins: `from` is at most `to`"),
    ),
  ],
  "is neither a port (0 to 65535) nor a range of ports { from, to }",
);

const startTime = v.union(
  [
    v.bigint(),
    v.pipe(
      v.string(),
      v.regex(/^\d{1,20}$/, "is not nanoseconds in decimal"),
      v.transform((digits) => BigInt(digits)),
    ),
  ],
  "is not nanoseconds, as a bigint or a decimal text",
);
const pid = wholeNumber("a pid", 1, 2 ** 22);
const processMatch = v.union([pid, v.strictObject({ pid, startTime })], "is neither a pid nor { pid, startTime }");

const ids = oneOrMore(wholeNumber("an id", 0, ID_MAX), `an id (0 to ${ID_MAX})`);
const comm = v.pipe(
  v.string("is not a command name"),
  v.nonEmpty("is empty: leave it out"),
  // U+FFFD stands for bytes that do not decode: it may be a single one.
  v.check(
    (name) => new TextEncoder().encode(name.replaceAll("\ufffd", "?")).length <= 15,
    "is longer than 15 bytes, which is all that the kernel keeps of a command's name",
  ),
);
const cgroup = v.pipe(
  v.string("is not a path"),
  v.startsWith("/", "is not the path of a group: it begins with /"),
  v.maxLength(4096, "is longer than 4096 characters"),
);

/** @internal A rule as it may be written, as an object or in JSON. */
export const ruleObject = v.strictObject(
  {
    action: v.picklist(["drop", "reject", "accept", "log"], "is none of drop, reject, accept, log"),
    pid: oneOrMore(processMatch, "a pid, { pid, startTime }"),
    descendants: v.optional(v.boolean("is neither true nor false")),
    uid: ids,
    processUid: ids,
    socketUid: ids,
    loginUid: ids,
    gid: ids,
    comm: oneOrMore(comm, "a command name"),
    cgroup: oneOrMore(cgroup, "a path"),
    netns: oneOrMore(wholeNumber("the inode number of a namespace", 1, ID_MAX), "an inode number"),
    protocol: oneOrMore(v.picklist(["tcp", "udp", "udplite"], "is none of tcp, udp, udplite"), "tcp, udp, udplite"),
    localPort: oneOrMore(portMatch, "a port (0 to 65535), a range { from, to }"),
    remotePort: oneOrMore(portMatch, "a port (0 to 65535), a range { from, to }"),
    localAddress: oneOrMore(network, "an address, a network"),
    remoteAddress: oneOrMore(network, "an address, a network"),
    direction: v.optional(v.picklist(["in", "out"], "is neither in nor out")),
    state: oneOrMore(v.picklist(STATES, `is none of ${STATES.join(", ")}`), "a socket's state"),
    forMs: v.optional(wholeNumber("a time in milliseconds", 1, FOR_MAX)),
    for: v.optional(
      v.pipe(
        v.string(`is not a time such as "10m"`),
        v.regex(/^\d{1,12}(ms|s|m|h|d)$/, `is not a time such as "500ms", "90s", "10m", "2h" or "7d"`),
        v.check((time) => {
          const milliseconds = parseDuration(time);
          return milliseconds === undefined || (milliseconds >= 1 && milliseconds <= FOR_MAX);
        }, `is not from 1ms to ${DAYS_MAX}d`),
      ),
    ),
    comment: v.optional(text("a text", 200)),
  },
  "is not a rule: an object such as { action, uid, protocol, remotePort }, or a text",
);

/** @internal A rule's members. */
export const RULE_MEMBERS: readonly string[] = Object.keys(ruleObject.entries);

/** @internal The document: what a file of rules holds. For its JSON Schema; `parseRules` goes entry by entry. */
export const ruleDocument = v.union([
  v.array(v.union([ruleObject, v.string()])),
  v.strictObject({ rules: v.array(v.union([ruleObject, v.string()])) }),
]);
