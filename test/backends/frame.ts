import { parseNetwork } from "../../lib/rules/network.ts";

/** Frames made by hand, as a guest that wants to slip by makes them. Checksums of payloads are 0: nothing on the way looks at them. */

/** Sender of all of them, by which they are counted. */
export const SENDER = "02:00:00:00:00:aa";

export const TCP = 6;
export const UDP = 17;

export const u8 = (...values: number[]) => Buffer.from(values);
export const u16 = (...values: number[]): Buffer => Buffer.concat(values.map((value) => u8(value >> 8, value & 0xff)));

/** `tags`: their EtherTypes, outermost first. */
export function ethernet(packet: Buffer, tags: readonly number[] = [], type?: number): Buffer {
  const of = type ?? (packet[0]! >> 4 === 6 ? 0x86dd : 0x0800);
  return Buffer.concat([mac("ff:ff:ff:ff:ff:ff"), mac(SENDER), ...tags.map((tag) => u16(tag, 7)), u16(of), packet]);
}

/** The same frame for one receiver. */
export function sentTo(receiver: string, frame: Buffer): Buffer {
  return Buffer.concat([mac(receiver), frame.subarray(6)]);
}

export interface Ends {
  readonly from: string;
  readonly to: string;
}

/** `fragment`: offset in units of 8 bytes, and whether more follow. */
export function ipv4(
  { from, to }: Ends,
  protocol: number,
  payload: Buffer,
  { options = u8(), fragment = [0, false] as [number, boolean] } = {},
): Buffer {
  const words = 5 + options.length / 4;
  const header = Buffer.concat([
    u8(0x40 | words, 0),
    u16(words * 4 + payload.length, 1, fragment[0] | (fragment[1] ? 0x2000 : 0)),
    u8(64, protocol, 0, 0),
    address(from),
    address(to),
    options,
  ]);
  header.writeUInt16BE(checksum(header), 10);
  return Buffer.concat([header, payload]);
}

function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return sum ^ 0xffff;
}

/** The payload with its checksum, for who looks at it: TCP or UDP between these ends. */
export function sound({ from, to }: Ends, protocol: number, payload: Buffer): Buffer {
  const whole = Buffer.from(payload);
  const pseudo = Buffer.concat([address(from), address(to), u16(0, whole.length, 0, protocol), whole]);
  whole.writeUInt16BE(checksum(pseudo), protocol === TCP ? 16 : 6);
  return whole;
}

/** `next`: the first header behind this one. */
export function ipv6({ from, to }: Ends, next: number, payload: Buffer): Buffer {
  return Buffer.concat([u8(0x60, 0, 0, 0), u16(payload.length), u8(next, 64), address(from), address(to), payload]);
}

/** Numbers of extension headers. */
export const HOP_BY_HOP = 0;
export const ROUTING = 43;
export const FRAGMENT = 44;
export const DESTINATION = 60;

/** An extension header of options, 8 bytes for each unit. */
export function extension(next: number, units = 1): Buffer {
  return Buffer.concat([u8(next, units - 1, 1, units * 8 - 4), Buffer.alloc(units * 8 - 4)]);
}

export function fragment6(next: number, offset: number, more: boolean): Buffer {
  return Buffer.concat([u8(next, 0), u16((offset << 3) | (more ? 1 : 0), 0, 9)]);
}

export function tcp(from: number, to: number, flags = 0x02): Buffer {
  return Buffer.concat([u16(from, to), Buffer.alloc(8), u8(0x50, flags), Buffer.alloc(6)]);
}

export function udp(from: number, to: number): Buffer {
  return Buffer.concat([u16(from, to, 12, 0), Buffer.from("data")]);
}

function mac(text: string): Buffer {
  return u8(...text.split(":").map((byte) => Number.parseInt(byte, 16)));
}

function address(text: string): Uint8Array {
  return parseNetwork(text)!.bytes;
}
