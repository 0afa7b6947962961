import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { XFilterError } from "./errors.ts";
import type { AbortSignalLike } from "./options.ts";

/** Bytes; pahole warns of each thing that it leaves out. */
const MAX_MESSAGES = 16 * 1024 * 1024;

/**
 * @internal
 * BTF of a vmlinux that has DWARF, made by pahole, with which the kernel's own build makes it.
 */
export async function btfOfDwarf(vmlinux: string, signal: AbortSignalLike | undefined): Promise<Uint8Array> {
  const folder = await mkdtemp(join(tmpdir(), "xfilter-pahole-"));
  const child = new AbortController();
  const abort = () => child.abort();
  signal?.addEventListener("abort", abort, { once: true });
  try {
    const btf = join(folder, "btf");
    await promisify(execFile)("pahole", [`--btf_encode_detached=${btf}`, vmlinux], {
      signal: child.signal,
      maxBuffer: MAX_MESSAGES,
    });
    return await readFile(btf);
  } catch (cause) {
    if (signal?.aborted) throw signal.reason;
    throw explain(vmlinux, cause as NodeJS.ErrnoException & { stderr?: string });
  } finally {
    signal?.removeEventListener("abort", abort);
    await rm(folder, { recursive: true, force: true });
  }
}

function explain(vmlinux: string, cause: NodeJS.ErrnoException & { stderr?: string }): XFilterError {
  if (cause.syscall?.startsWith("spawn") && cause.code === "ENOENT") {
    const what = `${vmlinux} has DWARF and no BTF; pahole converts it, and is not installed`;
    return new XFilterError("TOOL_NOT_FOUND", what, "Install it (Debian's package pahole), or give a BTF file", {
      cause,
    });
  }
  const [said = cause.message] = (cause.stderr ?? "").trim().split("\n").filter(Boolean);
  const what = `pahole could not make BTF of ${vmlinux}: ${said}`;
  return new XFilterError("TYPES_INVALID", what, "Check that the vmlinux is whole and has debug information", {
    cause,
  });
}
