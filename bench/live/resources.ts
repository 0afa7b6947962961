import { readdirSync, readFileSync, statSync } from "node:fs";

/** What a process holds at a moment. */
export interface Resources {
  /** Bytes of its own (RssAnon), and with pages of files and shared memory (VmRSS). */
  readonly own: number;
  readonly resident: number;
  readonly descriptors: number;
  readonly threads: number;
}

export function resourcesOf(pid: number | "self"): Resources {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const number = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1]);
  return {
    own: 1024 * number("RssAnon"),
    resident: 1024 * number("VmRSS"),
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    threads: number("Threads"),
  };
}

/** Bytes that a file takes on its file system: holes of a guest's RAM that somebody touches become part of it. */
export function allocatedBytes(path: string): number {
  return 512 * statSync(path).blocks;
}

/** Where a guest's shared memory is a file, as its path in /proc; null when it is QEMU's alone. */
export function memoryFile(pid: number): string | null {
  for (const line of readFileSync(`/proc/${pid}/maps`, "utf8").split("\n")) {
    const [, range] = /^([0-9a-f]+-[0-9a-f]+) rw-s .*(?:memory\.raw|memory-backend-memfd)/.exec(line) ?? [];
    if (range) return `/proc/${pid}/map_files/${range}`;
  }
  return null;
}
