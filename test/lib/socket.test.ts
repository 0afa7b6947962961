import { describe, expect, it } from "vitest";
import { WalkedSnapshot } from "../../lib/snapshot.ts";
import { columns, type SocketCells } from "../../lib/testing/columns.ts";

const PROCESSES = [
  { pid: 1, comm: "init" },
  { pid: 539, comm: "nc", columns: { uid: 1003 } },
];
const [TCP, UDP, RAW] = [0, 1, 3];
const [IPV4, DUAL_STACK, MPTCP] = [4 | 8, 1, 2];
const LOCAL_IPV4 = 4;

function socket(cells: SocketCells) {
  return new WalkedSnapshot(columns(PROCESSES, [cells])).sockets.at(0)!;
}

describe("a socket", () => {
  it("has the kernel's names for the states of tcp", () => {
    const states = Array.from({ length: 12 }, (_, i) => socket({ columns: { protocol: TCP, state: i + 1 } }).state);
    expect(states).toEqual([
      ...["ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT"],
      ...["LAST_ACK", "LISTEN", "CLOSING", "SYN_RECV"],
    ]);
  });
  it("is UNKNOWN in a state that no kernel has", () => {
    expect(socket({ columns: { protocol: TCP, state: 200 } }).state).toBe("UNKNOWN");
  });
  it("is ESTABLISHED or UNCONN where the protocol has no states", () => {
    expect(socket({ columns: { protocol: UDP, state: 1 } }).state).toBe("ESTABLISHED");
    expect(socket({ columns: { protocol: UDP, state: 7 } }).state).toBe("UNCONN");
  });
  it("has its ends as text", () => {
    const flow = socket({
      local: [10, 0, 2, 15],
      remote: [192, 0, 2, 7],
      columns: { localPort: 40312, remotePort: 22, flags: IPV4 },
    });
    expect(flow.local).toEqual({ address: "10.0.2.15", port: 40312 });
    expect(flow.remote).toEqual({ address: "192.0.2.7", port: 22 });
  });
  it("keeps family 6 when it talks IPv4 by mapped addresses", () => {
    const mapped = socket({ local: [10, 0, 2, 15], columns: { family: 6, flags: IPV4 } });
    expect(mapped.family).toBe(6);
    expect(mapped.local.address).toBe("10.0.2.15");
  });
  it("listens on a mapped address with no IPv4 address on the other side", () => {
    const listener = socket({ local: [127, 0, 0, 1], columns: { family: 6, flags: LOCAL_IPV4 } });
    expect(listener.local.address).toBe("127.0.0.1");
    expect(listener.remote.address).toBe("::");
  });
  it("has IPv6 addresses in RFC 5952's form", () => {
    const loopback = [...Array<number>(15).fill(0), 1];
    expect(socket({ local: loopback, columns: { family: 6, flags: 0 } })).toMatchObject({
      local: { address: "::1" },
      remote: { address: "::" },
    });
  });
  it("has the IP protocol as local port when it is raw", () => {
    expect(socket({ columns: { protocol: RAW, localPort: 1 } })).toMatchObject({ protocol: "raw", local: { port: 1 } });
  });
  it("says when it owns IPv4 too, and when it belongs to MPTCP", () => {
    expect(socket({ columns: { flags: DUAL_STACK } })).toMatchObject({ dualStack: true, mptcp: false });
    expect(socket({ columns: { flags: MPTCP } })).toMatchObject({ dualStack: false, mptcp: true });
  });
  it("has null for what it does not have", () => {
    expect(socket({ columns: { uid: 0xffffffff, netns: 0, boundInterface: 0 } })).toMatchObject({
      uid: null,
      netns: null,
      boundInterface: null,
    });
  });
  it("names every process that holds it", () => {
    const owners = [
      { pid: 1, fd: 3 },
      { pid: 539, fd: 3 },
    ];
    expect(socket({ owners }).owners).toEqual([
      { pid: 1, fd: 3, comm: "init", uid: 0 },
      { pid: 539, fd: 3, comm: "nc", uid: 1003 },
    ]);
  });

  it("is one JSON object with the contract's fields in order", () => {
    const flow = socket({
      local: [10, 0, 2, 15],
      remote: [192, 0, 2, 7],
      owners: [{ pid: 539, fd: 3 }],
      columns: {
        ...{ protocol: TCP, state: 1, localPort: 40312, remotePort: 22, uid: 1003, inode: 12457 },
        ...{ netns: 4026531840, sock: 0xffff888003a40000n },
      },
    });
    expect(JSON.stringify(flow)).toBe(
      '{"protocol":"tcp","family":4,"state":"ESTABLISHED","local":{"address":"10.0.2.15","port":40312},' +
        '"remote":{"address":"192.0.2.7","port":22},"uid":1003,"inode":12457,"netns":4026531840,' +
        '"boundInterface":null,"dualStack":false,"mptcp":false,' +
        '"owners":[{"pid":539,"fd":3,"comm":"nc","uid":1003}],"unownedReason":null,"sock":"0xffff888003a40000"}',
    );
  });
});
