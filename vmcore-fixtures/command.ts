import { spawn } from "node:child_process";

/** Programs that the builder runs, and the Debian package that each comes from. */
const packages: Record<string, string> = {
  "apt-get": "apt",
  "apt-cache": "apt",
  "dpkg-deb": "dpkg",
  gcc: "gcc libc6-dev",
  xz: "xz-utils",
  fallocate: "util-linux",
  setpriv: "util-linux",
  "qemu-system-x86_64": "qemu-system-x86",
  ip: "iproute2",
  nft: "nftables",
  nsenter: "util-linux",
  makedumpfile: "makedumpfile",
  "mkfs.ext4": "e2fsprogs",
  depmod: "kmod",
};

export function missingProgram(program: string): Error {
  return new Error(`The program ${program} is missing. Install it: apt install ${packages[program] ?? program}`);
}

/** Runs a program to its end and returns what it wrote on standard output. */
export function run(program: string, args: readonly string[], options: { cwd?: string; input?: Buffer } = {}) {
  return new Promise<Buffer>((resolve, reject) => {
    const child = spawn(program, args, { cwd: options.cwd, stdio: ["pipe", "pipe", "pipe"] });
    const output: Buffer[] = [];
    const errors: Buffer[] = [];
    child.stdout.on("data", (bytes: Buffer) => output.push(bytes));
    child.stderr.on("data", (bytes: Buffer) => errors.push(bytes));
    child.on("error", (error: NodeJS.ErrnoException) =>
      reject(error.code === "ENOENT" ? missingProgram(program) : error),
    );
    child.on("close", (code, signal) => {
      if (code === 0) return resolve(Buffer.concat(output));
      reject(new Error(`${program} ended with ${signal ?? code}:\n${Buffer.concat(errors).toString().trim()}`));
    });
    child.stdin.on("error", () => {}); // a program that does not read its input says so by its exit code
    child.stdin.end(options.input);
  });
}
