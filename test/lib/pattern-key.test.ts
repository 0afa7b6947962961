import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatIPv6 } from "../../lib/address.ts";
import { formatNetwork, parseNetwork } from "../../lib/rules/network.ts";
import type { FlowPattern } from "../../lib/rules/pattern.ts";
import { patternKey } from "../../lib/rules/pattern-key.ts";

const pattern: FlowPattern = {
  direction: "out",
  family: 4,
  protocol: "tcp",
  local: { address: "192.0.2.7", port: 40000 },
  remote: { address: "198.51.100.1", ports: [22, 22] },
  action: "drop",
};

describe("patternKey", () => {
  it.each<[Partial<FlowPattern>, string]>([
    [{}, "out tcp4 192.0.2.7:40000 198.51.100.1:22 drop"],
    [
      { remote: { address: "198.51.100.9/24", ports: [22, 25] } },
      "out tcp4 192.0.2.7:40000 198.51.100.0/24:22-25 drop",
    ],
    [{ local: { address: null, port: 53 }, remote: { address: null, ports: null } }, "out tcp4 *:53 *:* drop"],
    [
      { local: { address: null, port: null }, remote: { address: "0.0.0.0/0", ports: [0, 65535] } },
      "out tcp4 *:* *:* drop",
    ],
    [
      {
        direction: "in",
        family: 6,
        protocol: "udp",
        local: { address: "2001:DB8:0::1", port: 53 },
        remote: { address: "2001:db8::/32", ports: null },
        action: "reject",
      },
      "in udp6 [2001:db8::1]:53 [2001:db8::/32]:* reject",
    ],
  ])("writes %j", (change, key) => expect(patternKey({ ...pattern, ...change })).toBe(key));

  it("is the same however an address is written, and another for another action", () => {
    const same = { ...pattern, remote: { address: "198.51.100.1/32", ports: [22, 22] } } as const;
    expect(patternKey(same)).toBe(patternKey(pattern));
    expect(patternKey({ ...pattern, action: "accept" })).not.toBe(patternKey(pattern));
  });
});

describe("networks", () => {
  it.each([
    ["192.0.2.7", "192.0.2.7"],
    ["192.0.2.7/25", "192.0.2.0/25"],
    ["192.0.2.7/32", "192.0.2.7"],
    ["10.0.0.0/0", "0.0.0.0/0"],
    ["::", "::"],
    ["::/0", "::/0"],
    ["2001:db8::ffff/35", "2001:db8::/35"],
    ["::ffff:192.0.2.7", "::ffff:c000:207"],
    ["1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"],
  ])("reads %s as %s", (text, canonical) => expect(formatNetwork(parseNetwork(text)!)).toBe(canonical));

  it.each([
    ...["", "/", "192.0.2", "192.0.2.256", "192.0.2.07", "192.0.2.7/33", "192.0.2.7/", "192.0.2.7/-1", " 192.0.2.7"],
    ...[
      "::/129",
      ":::",
      "1::2::3",
      "1:2:3:4:5:6:7",
      "1:2:3:4:5:6:7:8:9",
      "1:2:3:4:5:6:7:8::",
      "12345::",
      "::g",
      ":1::",
    ],
    ...["192.0.2.7::", "::192.0.2", "fe80::1%eth0"],
  ])("does not take %j", (text) => expect(parseNetwork(text)).toBeUndefined());

  it("reads back what it writes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (bytes) => {
        expect(parseNetwork(formatIPv6(bytes))).toEqual({ family: 6, bytes, length: 128 });
      }),
    );
  });
});
