import fc from "fast-check";
import { parseRule } from "../../../lib/rules/schema.ts";

const id = fc.oneof(fc.constantFrom(0, 1, 1001, 1003, 0xffffffff), fc.integer({ min: 0, max: 0xffffffff }));
const port = fc.integer({ min: 0, max: 0xffff });
const ports = fc.oneof(
  port,
  fc.tuple(port, port).map(([a, b]) => ({ from: Math.min(a, b), to: Math.max(a, b) })),
);
const pid = fc.integer({ min: 1, max: 2 ** 22 });
const process = fc.oneof(pid, fc.record({ pid, startTime: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }) }));
const comm = fc
  .oneof(
    fc.constantFrom("ssh", "from", "//", "a b", 'say "x"', "kworker/0:1", "a,b", "\u2028", "7"),
    fc.string({ unit: "binary" }),
  )
  .filter((text) => text !== "" && Buffer.byteLength(text) <= 15);
const cgroup = fc.oneof(
  fc.constant("/user.slice/*"),
  fc.string().map((text) => `/${text}`),
);
const ipv4 = fc.constantFrom("192.0.2.7", "10.0.0.0/8", "0.0.0.0/0", "198.51.100.128/25");
const ipv6 = fc.constantFrom("2001:db8::/32", "fe80::1", "::/0", "2001:DB8:0:0::7");
const address = fc.oneof(ipv4, ipv6);
const comment = fc
  .string({ unit: "grapheme" })
  .filter((text) => text.trim() !== "" && text.length <= 200 && !/[\p{Cc}\u2028\u2029]/u.test(text));

function some<T>(one: fc.Arbitrary<T>) {
  return fc.oneof(one, fc.array(one, { minLength: 1, maxLength: 3 }));
}

/** Rules as people may write them, in all their forms. */
export const writtenRule = fc
  .record(
    {
      action: fc.constantFrom("drop", "reject", "accept", "log"),
      ...{ uid: some(id), processUid: some(id), socketUid: some(id), loginUid: some(id), gid: some(id) },
      ...{ comm: some(comm), cgroup: some(cgroup), netns: some(fc.integer({ min: 1, max: 0xffffffff })) },
      pid: some(process),
      descendants: fc.boolean(),
      protocol: some(fc.constantFrom("tcp", "udp", "udplite")),
      ...{ localPort: some(ports), remotePort: some(ports), localAddress: some(address), remoteAddress: some(address) },
      direction: fc.constantFrom("in", "out"),
      state: some(fc.constantFrom("LISTEN", "ESTABLISHED", "UNCONN")),
      forMs: fc.integer({ min: 1, max: 366 * 86_400_000 }),
      comment,
    },
    { requiredKeys: ["action"] },
  )
  .filter((rule) => {
    try {
      return parseRule(rule) !== undefined;
    } catch {
      // Contradictions: descendants of nobody, ends of two IP versions.
      return false;
    }
  });
