import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { XFilterError } from "../errors.ts";
import { systemPath } from "../system-path.ts";

const MAX_BYTES = 64 << 20;
const TIMEOUT_MS = 10_000;

/**
 * @internal
 * What `ip -json` prints of this process's network namespace. By `ip`, as /sys/class/net shows the devices of whoever mounted /sys,
 * which `nsenter --net` does not change. Rejects with TOOL_NOT_FOUND; INTERNAL where `ip` fails.
 */
export async function askIp(...words: readonly string[]): Promise<unknown> {
  let stdout: string;
  try {
    const options = { maxBuffer: MAX_BYTES, timeout: TIMEOUT_MS, env: { ...process.env, PATH: systemPath() } };
    ({ stdout } = await promisify(execFile)("ip", ["-json", ...words], options));
  } catch (cause) {
    const { syscall, code, stderr } = cause as NodeJS.ErrnoException & { readonly stderr?: string };
    if (syscall?.startsWith("spawn") && code === "ENOENT") {
      const what = "`ip`, which tells this machine's network devices, is not installed";
      throw new XFilterError("TOOL_NOT_FOUND", what, "Install it (Debian's package iproute2)", { cause });
    }
    const said = stderr?.trim() || (cause as Error).message;
    throw new XFilterError(
      "INTERNAL",
      `\`ip ${words.join(" ")}\` failed: ${said}`,
      "Run it as the same user, and see",
      { cause },
    );
  }
  // It prints nothing where there is nothing.
  return JSON.parse(stdout.trim() || "[]");
}
