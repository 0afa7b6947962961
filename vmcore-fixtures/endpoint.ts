export interface Endpoint {
  address: string;
  port: number;
}

/** Network-order bytes → text: IPv6 as in RFC 5952, IPv4-mapped addresses as the IPv4 address that they are. */
export function addressText(bytes: Buffer): string {
  if (bytes.length === 4) return bytes.join(".");
  if (bytes.subarray(0, 12).toString("hex") === "00000000000000000000ffff") return bytes.subarray(12).join(".");
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2));
  let start = 0;
  let length = 1; // a single zero group is written out
  for (let from = 0; from < 8; from++) {
    let to = from;
    while (to < 8 && groups[to] === 0) to++;
    if (to - from > length) [start, length] = [from, to - from];
  }
  const text = (part: number[]) => part.map((group) => group.toString(16)).join(":");
  if (length === 1) return text(groups);
  return `${text(groups.slice(0, start))}::${text(groups.slice(start + length))}`;
}

/** "0100007F:0016" of /proc/net/tcp: 32-bit words of the machine's order, and the port. */
export function procEndpoint(text: string): Endpoint {
  const [address = "", port = ""] = text.split(":");
  return { address: addressText(Buffer.from(address, "hex").swap32()), port: Number.parseInt(port, 16) };
}

/** A struct sockaddr_in or sockaddr_in6 in hexadecimal. */
export function sockaddrEndpoint(family: number, hex: string): Endpoint {
  const bytes = Buffer.from(hex, "hex");
  const address = family === 10 ? bytes.subarray(8, 24) : bytes.subarray(4, 8);
  return { address: addressText(address), port: bytes.readUInt16BE(2) };
}
