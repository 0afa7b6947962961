import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatIPv4, formatIPv6, hex } from "../../lib/address.ts";

const ipv6 = (...groups: number[]) =>
  formatIPv6(Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff])));

describe("an IPv4 address", () => {
  it("is four decimal numbers", () => {
    expect(formatIPv4(Uint8Array.of(192, 0, 2, 7, 99, 99))).toBe("192.0.2.7");
  });
});

describe("an IPv6 address", () => {
  it("has its longest run of zeros as ::", () => {
    expect(ipv6(0x2001, 0xdb8, 0, 0, 1, 0, 0, 0)).toBe("2001:db8:0:0:1::");
  });
  it("has the first of equal runs as ::", () => {
    expect(ipv6(0x2001, 0xdb8, 0, 0, 1, 0, 0, 1)).toBe("2001:db8::1:0:0:1");
  });
  it("keeps a single zero", () => {
    expect(ipv6(1, 0, 3, 4, 5, 6, 7, 8)).toBe("1:0:3:4:5:6:7:8");
  });
  it("is :: when there is none", () => {
    expect(ipv6(0, 0, 0, 0, 0, 0, 0, 0)).toBe("::");
    expect(ipv6(0, 0, 0, 0, 0, 0, 0, 1)).toBe("::1");
  });
  it("is what URLs make of it", () => {
    // Few values, so that runs of zeros are common.
    const group = fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 0xffff }));
    fc.assert(
      fc.property(fc.array(group, { minLength: 8, maxLength: 8 }), (groups) => {
        const full = groups.map((each) => each.toString(16).padStart(4, "0")).join(":");
        expect(`[${ipv6(...groups)}]`).toBe(new URL(`http://[${full}]`).hostname);
      }),
    );
  });
});

describe("a number in hex", () => {
  it("is lower case with 0x in front", () => {
    expect(hex(0xffff888003a40000n)).toBe("0xffff888003a40000");
    expect(hex(0n)).toBe("0x0");
  });
  it("has its sign in front", () => {
    expect(hex(-0x1000000n)).toBe("-0x1000000");
  });
});
