import { gzipSync } from "node:zlib";

export interface InitramfsFile {
  path: string;
  content: Buffer;
  mode: number;
}

/** One member of a cpio archive in the "newc" format (Documentation/driver-api/early-userspace/buffer-format.rst). */
function member(inode: number, path: string, mode: number, content: Buffer, device: [number, number] = [0, 0]): Buffer {
  const fields = [inode, mode, 0, 0, 1, 0, content.length, 0, 0, ...device, path.length + 1, 0];
  const header = `070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}${path}\0`;
  const padded = (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
  return Buffer.concat([padded(Buffer.from(header, "latin1")), padded(content)]);
}

/** Paths have no leading slash. `/dev/console` is added: without it the first process starts without descriptors. */
export function initramfs(files: readonly InitramfsFile[]): Buffer {
  const directories = new Set<string>(["dev"]);
  for (const { path } of files)
    for (let slash = path.indexOf("/"); slash > 0; slash = path.indexOf("/", slash + 1))
      directories.add(path.slice(0, slash));
  let inode = 1;
  const none = Buffer.alloc(0);
  return gzipSync(
    Buffer.concat([
      ...[...directories].map((path) => member(inode++, path, 0o040755, none)),
      member(inode++, "dev/console", 0o020600, none, [5, 1]),
      ...files.map(({ path, content, mode }) => member(inode++, path, 0o100000 | mode, content)),
      member(inode, "TRAILER!!!", 0, none),
    ]),
    { level: 6 },
  );
}
