import { type ChildProcess, type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import type { KernelJson, OtherSocketJson, ProcessJson, SocketJson } from "../../lib/index.ts";
import { unpack } from "../../vmcore-fixtures/unpack.ts";

/** What the guest said of itself; of the fixture's truth, what these tests look at. */
interface Truth {
  processes: Pick<
    ProcessJson,
    "pid" | "comm" | "uid" | "euid" | "ppid" | "state" | "threads" | "kernelThread" | "netns"
  >[];
  sockets: Pick<SocketJson, "protocol" | "family" | "state" | "local" | "uid" | "inode" | "netns" | "owners">[];
}

const command = join(import.meta.dirname, "../../dist/cli/main.js");
let image: string;
let truth: Truth;

beforeAll(async () => {
  const fixture = await unpack();
  image = fixture.image;
  truth = JSON.parse(readFileSync(fixture.truth, "utf8"));
});

interface Ended {
  stdout: string;
  stderr: string;
  code: number | null;
}

interface Run {
  nodeOptions?: readonly string[];
  /** Does something to the command while it runs. */
  during?(child: ChildProcessWithoutNullStreams): void;
}

/** Runs the built command. */
function xfilter(args: readonly string[], { nodeOptions = [], during }: Run = {}): Promise<Ended> {
  const child = spawn(process.execPath, [...nodeOptions, command, ...args]);
  const result = ended(child);
  during?.(child);
  return result;
}

/** What a command printed until it ended. */
function ended(child: ChildProcess): Promise<Ended> {
  let [stdout, stderr] = ["", ""];
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  return new Promise((resolve, reject) => {
    child.once("error", reject).once("close", (code) => resolve({ stdout, stderr, code }));
  });
}

/** What a command printed as JSON, one object a line. */
async function printed<T>(...args: readonly string[]): Promise<T[]> {
  const { stdout, stderr, code } = await xfilter(args);
  expect({ stderr, code }).toEqual({ stderr: "", code: 0 });
  return stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as T);
}

describe("xfilter watch and top", () => {
  const untilFirstLine = (child: ChildProcessWithoutNullStreams) =>
    void child.stdout.once("data", () => child.kill("SIGINT"));

  it("go on until Ctrl-C", async () => {
    const watched = await xfilter(["watch", image, "--interval", "10ms"], { during: untilFirstLine });
    expect(watched.stdout).toBe(`watching ${truth.processes.length} processes, ${truth.sockets.length} sockets\n`);
    const warning =
      "xfilter: warning: an image stands still: nothing will change, until Ctrl-C. Guests that run are given as qemu:… or xen:…\n";
    expect([watched.stderr, watched.code]).toEqual([warning, 130]);
    const topped = await xfilter(["top", image, "--interval", "10ms"], { during: untilFirstLine });
    expect(topped.stdout).toMatch(/^PID +UID +EUID +COMMAND +FLOWS/m);
    expect([topped.stderr, topped.code]).toEqual([warning, 130]);
  });
  it("end in order when the service or the terminal that they run in does", async () => {
    const terminated = await xfilter(["watch", image, "--interval", "10ms"], {
      during: (child) => void child.stdout.once("data", () => child.kill("SIGTERM")),
    });
    expect(terminated.code).toBe(143);
    const hungUp = await xfilter(["top", image, "--interval", "10ms"], {
      during: (child) => void child.stdout.once("data", () => child.kill("SIGHUP")),
    });
    expect(hungUp.code).toBe(129);
  });
  it("end when nobody reads any more", async () => {
    const { code } = await xfilter(["top", image, "--json", "--interval", "1ms"], {
      during: (child) => void child.stdout.once("data", () => child.stdout.destroy()),
    });
    expect(code).toBe(0);
  });
  it.each(["0ms", "10", "1.5s", "61m", "soon", ""])("refuse the interval %j", async (interval) => {
    const { code, stderr } = await xfilter(["watch", image, "--interval", interval]);
    expect(code).toBe(2);
    expect(stderr).toMatch(/^xfilter: USAGE: .*"500ms".*at most 1h/);
  });
});

describe("xfilter info", () => {
  it("tells the kernel and each step to it", async () => {
    const { stdout, code } = await xfilter(["info", image]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^kernel +\d+\.\d+/m);
    expect(stdout).toMatch(/^STEP +FOUND +HOW +TIME$/m);
    expect(stdout).toMatch(/^kallsyms .* ms$/m);
  });
  it("is one JSON object", async () => {
    const kernels = await printed<KernelJson>("info", image, "--json");
    expect(kernels).toEqual([
      expect.objectContaining({ architecture: "x86_64", kaslrOffset: expect.stringMatching(/^\d+$/) }),
    ]);
  });
});

describe("xfilter ps", () => {
  it("is one JSON object a line, sorted by pid", async () => {
    const pids = (await printed<ProcessJson>("ps", image, "--json")).map(({ pid }) => pid);
    expect(pids).toContain(1);
    expect(pids).toEqual(pids.toSorted((a, b) => a - b));
  });
  // A user's process, one with a name that is not ASCII, a container's first, one whose main thread is gone, a kernel thread.
  it.each(["ssh", "管理", "container-init", "leader-leaves", "kthreadd"])(
    "tells of %s what the guest told",
    async (name) => {
      const told = truth.processes.find(({ comm }) => comm === name)!;
      const { pid, comm, uid, euid, ppid, state, threads, kernelThread } = told;
      const processes = await printed<ProcessJson>("ps", image, "--json");
      expect(processes).toContainEqual(
        expect.objectContaining({ pid, comm, uid, euid, ppid, state, threads, kernelThread }),
      );
    },
  );
  it("is a table with kernel threads in brackets", async () => {
    const { stdout } = await xfilter(["ps", image]);
    const [header, ...lines] = stdout.trimEnd().split("\n");
    expect(header).toMatch(/PID +PPID +UID +EUID +STATE +THREADS +START +COMMAND$/);
    expect(lines).toContainEqual(expect.stringMatching(/ 2 +0 +0 +0 .* \[kthreadd\]$/));
  });
});

describe("xfilter ss", () => {
  it("is one JSON object a line, with the owners", async () => {
    const sockets = await printed<SocketJson>("ss", image, "--json");
    expect(sockets.filter(({ owners }) => owners.length > 0)).not.toEqual([]);
    for (const { owners, unownedReason } of sockets) if (owners.length > 0) expect(unownedReason).toBeNull();
  });
  // A user's connection, a listener of several processes, one in a container, MPTCP.
  it.each(["ssh", "www-worker", "container-init", "mptcp"])(
    "tells of the sockets of %s what the guest told",
    async (name) => {
      const { pid } = truth.processes.find(({ comm }) => comm === name)!;
      const held = ({ owners }: { owners: readonly { pid: number }[] }) => owners.some((owner) => owner.pid === pid);
      const told = truth.sockets.filter(held);
      const sockets = (await printed<SocketJson>("ss", image, "--json")).filter(held);
      for (const { protocol, family, state, local, uid, inode, netns, owners } of told) {
        const named = owners.map((owner) => expect.objectContaining(owner));
        const socket = { protocol, family, state, local, uid, inode, netns, owners: named };
        expect(sockets).toContainEqual(expect.objectContaining(socket));
      }
    },
  );
  it("is a table", async () => {
    const { stdout } = await xfilter(["ss", image]);
    expect(stdout).toMatch(/^PROTO +STATE +LOCAL +REMOTE +UID +NETNS +OWNERS$/m);
    expect(stdout).toMatch(/^tcp6? +LISTEN +\S+:\d+ +\S+:\* +\d+ +\d+ +\d+\/\S+\/\d+/m);
  });
});

describe("xfilter ss --other", () => {
  it("is one JSON object a line", async () => {
    const { otherSockets } = JSON.parse(readFileSync((await unpack()).truth, "utf8")) as { otherSockets?: unknown[] };
    const others = await printed<OtherSocketJson>("ss", image, "--other", "--json");
    if (otherSockets) expect(others).toHaveLength(otherSockets.length);
    expect(others.map(({ kind }) => kind)).toContain("packet");
  });
  it("is a table", async () => {
    const { stdout } = await xfilter(["ss", image, "--other"]);
    expect(stdout).toMatch(/^KIND +INODE +OWNERS\npacket +\d+ +\d+\/\S+\/\d+$/m);
  });
});

describe("xfilter", () => {
  it("takes a URI, and a path that looks like one with ./ in front", async () => {
    expect((await xfilter(["ps", `vmcore:${image}`])).code).toBe(0);
    const { stderr } = await xfilter(["ps", "./vmcore:x"]);
    expect(stderr).toMatch(/^xfilter: SOURCE_NOT_FOUND: .*vmcore:x.*\n$/);
  });
  it.each([[["--help"]], [["ps", "--help"]], [["--version"]], [["ss", "--version"]]])(
    "answers %j on stdout",
    async (args) => {
      const { stdout, stderr, code } = await xfilter(args);
      expect({ stderr, code }).toEqual({ stderr: "", code: 0 });
      expect(stdout).toMatch(/xfilter|^\d+\.\d+\.\d+/);
    },
  );
  it.each([
    [[]],
    [["ps"]],
    [["who", "x"]],
    [["ps", "x", "--wrong"]],
    [["ps", "x", "y"]],
    [["ps", "disk:x"]],
    [["ps", ""]],
  ])("called wrongly as %j fails with 2 and prints nothing on stdout", async (args) => {
    const { stdout, stderr, code } = await xfilter(args);
    expect({ stdout, code }).toEqual({ stdout: "", code: 2 });
    expect(stderr).not.toBe("");
  });
  it.each([
    ["/no/such/image", "SOURCE_NOT_FOUND"],
    ["qemu:/no/such/vm1.qmp", "SOURCE_NOT_FOUND"],
    ["qemu:pid:4194304", "SOURCE_NOT_FOUND"],
    ["xen:vm1", "XEN_UNAVAILABLE"],
    [import.meta.filename, "SOURCE_FORMAT"],
  ])("fails on %s with 1 and one line on stderr", async (target, error) => {
    const { stdout, stderr, code } = await xfilter(["ps", target]);
    expect({ stdout, code }).toEqual({ stdout: "", code: 1 });
    expect(stderr).toMatch(new RegExp(`^xfilter: ${error}: .*[^.]\\. .*\\.\\n$`));
  });
  it.each([
    ["disk:x", '"./disk:x"'],
    ["", "the path is empty"],
  ])("says of the target %j what is wrong with it, in the command's words", async (target, why) => {
    const { stderr } = await xfilter(["ps", target]);
    expect(stderr).toMatch(/^xfilter: USAGE: [^{}]+[^.]\. See xfilter --help, or --help of the command\.\n$/);
    expect(stderr).toContain(why);
  });
  it("names the option that has no path", async () => {
    const { stderr, code } = await xfilter(["ps", image, "--types", ""]);
    expect({ stderr, code }).toEqual({ stderr: expect.stringMatching(/^xfilter: USAGE: .*--types.*\n$/), code: 2 });
  });
  it.each([["ps"], ["--help"], ["ss", "--help"]])(
    "fails with one sentence when %s cannot be written",
    async (...args) => {
      const full = openSync("/dev/full", "w");
      const child = spawn(
        process.execPath,
        [command, ...args, ...(args.length === 1 && args[0] === "ps" ? [image] : [])],
        {
          stdio: ["ignore", full, "pipe"],
        },
      );
      closeSync(full);
      expect(await ended(child)).toEqual({
        ...{ code: 1, stdout: "" },
        stderr: expect.stringMatching(/^xfilter: OUTPUT: .*no space left on device \(ENOSPC\)\. .*\n$/),
      });
    },
  );
  it("never prints a path raw", async () => {
    const { stderr } = await xfilter(["ps", "/no/\x1b[31m/\u202eimage"]);
    expect(stderr).toContain("\\x1b[31m/\\u202eimage");
  });
  it("ends quietly when the reader has enough", async () => {
    const { stderr, code } = await xfilter(["ps", image, "--json"], {
      during: (child) => child.stdout.destroy(),
    });
    expect({ stderr, code }).toEqual({ stderr: "", code: 0 });
  });
  it("stops on Ctrl-C with 130, printing nothing as if it were whole", async () => {
    // The signal comes as soon as the command listens for it: while it attaches.
    const interrupt = `data:text/javascript,process.on("newListener", (name) => {
      if (name === "SIGINT") setImmediate(() => process.kill(process.pid, "SIGINT"));
    })`;
    const { stdout, stderr, code } = await xfilter(["ps", image], { nodeOptions: ["--import", interrupt] });
    expect({ stdout, stderr, code }).toEqual({ stdout: "", stderr: "", code: 130 });
  });
});
