import { execFileSync } from "node:child_process";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { runProgram } from "../../../lib/backends/program.ts";
import { loadNative } from "../../../lib/native.ts";

const lib = join(import.meta.dirname, "../../../lib");
const folder = mkdtempSync(join(tmpdir(), "xfilter-test-program-"));
const { signal } = new AbortController();
const program = { name: "xfilter-test-program", package: "none", look: "none" };

beforeAll(() => vi.stubEnv("PATH", `${folder}/nowhere:${folder}:${process.env.PATH}`));
afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

/** A program of this name that is this script. */
function script(lines: string, name = program.name): void {
  writeFileSync(join(folder, name), `#!/bin/sh\n${lines}\n`);
  chmodSync(join(folder, name), 0o755);
}

/** Runs a shell's words by the addon itself, with limits of one's own. */
function start(words: string, options: { input?: string; timeoutMs?: number; maxOutput?: number } = {}) {
  const { input = null, timeoutMs = 60_000, maxOutput = 1000 } = options;
  const shell = { name: "sh", words: ["-c", words], path: process.env.PATH!, maxMessages: 1000 };
  return loadNative().runProgram({ ...shell, input, timeoutMs, maxOutput });
}

const run = (...of: Parameters<typeof start>) => start(...of).promise;

describe("a program", () => {
  it("tells its output, its messages and how it ended", async () => {
    script('echo "out: $*"; cat; echo "$LC_ALL" >&2; exit 7');
    const ended = await runProgram(program, ["a", "b c", ""], "given\u00fc", signal);
    expect(ended).toEqual({ output: "out: a b c \ngiven\u00fc", messages: "C\n", status: 7 });
  });

  it("without an input finds the end of one", async () => {
    expect(await run("wc -c")).toEqual({ output: "0\n", messages: "", status: 0, signal: null });
  });

  it("may read its input by its name, and more than once", async () => {
    const input = "0123456789".repeat(100_000);
    expect((await run("cat /dev/stdin | wc -c; cat < /dev/stdin | wc -c", { input })).output).toBe(
      "1000000\n1000000\n",
    );
  });

  it("that reads nothing of a large input is waited for no longer", async () => {
    expect(await run("exit 3", { input: "x".repeat(10_000_000) })).toMatchObject({ status: 3 });
  });

  it("that writes too much is heard to its end, and the start of it kept", async () => {
    const ended = await run("yes no | head -c 3000000; yes no | head -c 3000000 >&2; exit 4", { maxOutput: 10 });
    expect(ended).toEqual({
      output: "no\nno\nno\nn",
      messages: "no\n".repeat(334).slice(0, 1000),
      status: 4,
      signal: null,
    });
  });

  it("that closes what it writes to and goes on is waited for", async () => {
    expect(await run("echo a; exec >&- 2>&-; sleep 0.1; exit 5")).toMatchObject({ output: "a\n", status: 5 });
  });

  it("that a signal ends is told by its name, and no signal is ignored in it", async () => {
    script("kill -PIPE $$; exit 0");
    expect(await runProgram(program, [], null, signal)).toMatchObject({ status: "SIGPIPE" });
  });

  it("stays in this process's group, so that Ctrl-C is for both", async () => {
    const group = readFileSync("/proc/self/stat", "utf8").replace(/.*\) /, "").split(" ")[2];
    expect((await run("cut -d ' ' -f 5 /proc/$$/stat")).output).toBe(`${group}\n`);
  });

  it("gets no descriptor of others that are started with it", async () => {
    const listed = await Promise.all(Array.from({ length: 8 }, () => run("ls -l /proc/self/fd", { input: "x" })));
    for (const { output } of listed) {
      expect(output.match(/memfd:/g)).toHaveLength(1);
      expect(output).not.toContain("eventfd");
    }
  });

  it("that does not end is killed when its time is up, though what it started goes on", async () => {
    const { signal, output } = await run("sleep 60 & echo $!; wait", { timeoutMs: 300 });
    expect(signal).toBe(9);
    process.kill(Number(output), "SIGKILL");
  });

  it("that is cancelled is killed and gone", async () => {
    const job = start(`echo $$ > ${folder}/pid; exec sleep 60`);
    const pid = await vi.waitUntil(() => Number(readFileSync(join(folder, "pid"), { encoding: "utf8", flag: "a+" })));
    job.cancel();
    await expect(job.promise).rejects.toMatchObject({ code: "ABORTED" });
    expect(() => process.kill(pid, 0)).toThrow("ESRCH");
  });

  it("ends with the worker that runs it", async () => {
    const file = join(folder, "worker");
    const request = {
      ...{ name: "sh", words: ["-c", `echo $$ > ${file}; exec sleep 60`], path: process.env.PATH },
      ...{ input: null, timeoutMs: 60_000, maxOutput: 100, maxMessages: 100 },
    };
    const addon = join(lib, "../binding/load.cjs");
    const worker = new Worker(`require(${JSON.stringify(addon)})().runProgram(${JSON.stringify(request)})`, {
      eval: true,
    });
    const pid = await vi.waitUntil(() => Number(readFileSync(file, { encoding: "utf8", flag: "a+" })));
    await worker.terminate();
    expect(() => process.kill(pid, 0)).toThrow("ESRCH");
  });

  it("that is stuck, and a hundred of them, delay no other work", async () => {
    const jobs = Array.from({ length: 100 }, () => start("exec sleep 60"));
    const asked = loadNative().lacksBtf(join(folder, "nowhere"));
    await expect(asked.promise).rejects.toMatchObject({ code: "SOURCE_NOT_FOUND" });
    for (const job of jobs) job.cancel();
    const codes = await Promise.all(jobs.map(({ promise }) => promise.catch(({ code }) => code)));
    expect(new Set(codes)).toEqual(new Set(["ABORTED"]));
  });

  it("leaves neither descriptors nor zombies, a thousand times", async () => {
    const before = descriptors();
    for (let i = 0; i < 100; i++) {
      const jobs = Array.from({ length: 10 }, () => start("exit 0", { input: "x" }));
      if (i % 10 === 0) jobs[0]!.cancel();
      await Promise.allSettled(jobs.map(({ promise }) => promise));
    }
    expect(descriptors()).toEqual(before);
    expect(zombies()).toEqual([]);
  }, 60_000);
});

describe("a program that cannot be run", () => {
  it("because it is not there keeps nobody from ending", () => {
    const script = `
      import { runProgram } from ${JSON.stringify(join(lib, "backends/program.ts"))};
      const none = { name: "xfilter-test-nowhere", package: "none", look: "none" };
      const error = await runProgram(none, [], null, new AbortController().signal).catch((error) => error);
      console.log(error.code, process.getActiveResourcesInfo().filter((name) => name === "Timeout").length);`;
    const node = [process.execPath, "--import", "tsx", "--input-type=module", "-e", script] as const;
    const printed = execFileSync(node[0], node.slice(1), { encoding: "utf8" });
    expect(printed).toBe("BACKEND_NOT_FOUND 0\n");
  });

  it("because it is not there is advised of by its package", async () => {
    const none = { ...program, name: "xfilter-test-nowhere", package: "nowhere" };
    const failure = runProgram(none, [], null, signal);
    await expect(failure).rejects.toThrow(
      "`xfilter-test-nowhere` is not installed. Install it (Debian's package nowhere).",
    );
  });

  it("because it is not executable says so", async () => {
    writeFileSync(join(folder, "xfilter-test-plain"), "");
    const failure = runProgram({ ...program, name: "xfilter-test-plain" }, [], null, signal);
    await expect(failure).rejects.toMatchObject({ code: "BACKEND_FAILED", message: expect.stringContaining("denied") });
  });
});

/** Kinds of what this process has open that a program needs, and how many there are. */
function descriptors(): Record<string, number> {
  const count: Record<string, number> = {};
  for (const fd of readdirSync("/proc/self/fd")) {
    try {
      const [kind] = /^(memfd|pipe|anon_inode:\[eventfd\])/.exec(readlinkSync(`/proc/self/fd/${fd}`)) ?? [];
      if (kind !== undefined) count[kind] = (count[kind] ?? 0) + 1;
    } catch {
      // Closed since: the folder's own.
    }
  }
  return count;
}

/** Numbers of this process's zombies. */
function zombies(): string[] {
  return readdirSync("/proc").filter((name) => {
    try {
      return new RegExp(`\\) Z ${process.pid} `).test(readFileSync(`/proc/${name}/stat`, "utf8"));
    } catch {
      return false;
    }
  });
}
