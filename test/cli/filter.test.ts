import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { formatRule, parseRule } from "../../lib/rules/index.ts";
import { unpack } from "../../vmcore-fixtures/unpack.ts";

const command = join(import.meta.dirname, "../../dist/cli/main.js");
const directory = mkdtempSync(join(tmpdir(), "xfilter-cli-"));
const path = (name: string) => join(directory, name);
const state = path("state");
let image: string;

beforeAll(async () => {
  image = (await unpack()).image;
  writeFileSync(path("rules"), "# ssh\ndeny tcp from any to any 22 out uid 1003\n");
});

afterAll(() => rmSync(directory, { recursive: true }));

async function xfilter(args: readonly string[], during?: (child: ChildProcessWithoutNullStreams) => void) {
  const child = spawn(process.execPath, [command, ...args]);
  let [stdout, stderr] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  during?.(child);
  const code = await new Promise((resolve, reject) => child.once("error", reject).once("close", resolve));
  return { stdout, stderr, code };
}

const dryRun = (...args: readonly string[]) => ["filter", image, "--backend", "dry-run", ...args];

/** Ctrl-C as soon as something is in force that is told with this word. */
const untilTold = (word: string) => (child: ChildProcessWithoutNullStreams) =>
  void child.stdout.on("data", (text: string) => {
    if (text.includes(word) && !child.killed) child.kill("SIGINT");
  });
const untilSet = untilTold("drop");

describe("xfilter rules check", () => {
  it("prints rules in their one-line form", async () => {
    writeFileSync(path("rules.json"), '[{ "action": "drop", "uid": 1003, "remotePort": 22, "protocol": "tcp" }]');
    const { stdout, code } = await xfilter(["rules", "check", path("rules.json")]);
    expect({ stdout, code }).toEqual({ stdout: "deny tcp from any to any 22 uid 1003\n", code: 0 });
  });
  it("names the line of a rule that is wrong", async () => {
    writeFileSync(path("wrong"), "# one\n\ndeny tcp from any to any\ndeny tcp to any\n");
    const { stderr, code } = await xfilter(["rules", "check", path("wrong")]);
    expect({ stderr, code }).toEqual({ stderr: expect.stringContaining(`${path("wrong")}:4: column`), code: 2 });
  });
  it("reads the standard input, and prints rules as JSON that reads back", async () => {
    const text = "deny ip from any to any pid 7@12345678901234567890 for 10m";
    const { stdout, code } = await xfilter(["rules", "check", "--json", "-"], ({ stdin }) => stdin.end(text));
    expect({ stdout, code }).toEqual({
      stdout: '{"action":"drop","pid":{"pid":7,"startTime":"12345678901234567890"},"forMs":600000}\n',
      code: 0,
    });
    expect(formatRule(parseRule(JSON.parse(stdout)))).toBe(text);
  });
  it("says in one line of each rule what is wrong with it, and nothing of the command's options", async () => {
    writeFileSync(path("two"), "deny tcp\ndeny udp\n");
    const { stderr } = await xfilter(["rules", "check", path("two")]);
    expect(stderr).toMatch(/^xfilter: USAGE: Bad rules: \S+two:1: [^;]*; \S+two:2: [^;]*\n$/);
    expect(stderr).not.toContain("--help");
  });
});

it.each([
  ["filter", ["--rules", path("none")]],
  ["plan", ["--rules", path("none")]],
  ["block", ["--uid", "7", "--remote-port", "70000"]],
])("%s with wrong rules says so, also while there is no guest", async (name, options) => {
  expect(await xfilter([name, "qemu:/nowhere", ...options])).toMatchObject({ code: 2 });
});

describe("xfilter plan", () => {
  it("prints each pattern with whom it is about and the rule", async () => {
    const { stdout, stderr, code } = await xfilter(["plan", image, "--rules", path("rules")]);
    expect({ stderr, code }).toEqual({ stderr: "", code: 0 });
    const line = /^drop out tcp6? \S+ \S+:22 of \d+\/ssh uid 1003 by "deny tcp from any to any 22 out uid 1003"$/;
    for (const printed of stdout.trimEnd().split("\n")) expect(printed).toMatch(line);
  });
  it("is one JSON object a line", async () => {
    const { stdout } = await xfilter(["plan", image, "--json", "--rules", path("rules")]);
    for (const line of stdout.trimEnd().split("\n")) {
      expect(JSON.parse(line)).toMatchObject({
        ...{ action: "drop", direction: "out", remote: { ports: [22, 22] }, reason: "matched" },
        ...{ owner: { comm: "ssh", uid: 1003 }, rule: "deny tcp from any to any 22 out uid 1003" },
      });
    }
  });
});

describe("what nftables cannot hold", () => {
  beforeAll(() => {
    writeFileSync(path("entering"), "reject tcp from any to any 22 in uid 1003\n");
    writeFileSync(path("both"), "reject tcp from any to any 22 uid 1003\n");
  });

  it.each(["plan", "filter"])("is refused by %s before anything is printed", async (name) => {
    const args = [name, image, "--rules", path("entering"), ...(name === "filter" ? ["--backend", "dry-run"] : [])];
    const { stdout, stderr, code } = await xfilter(args);
    expect({ stdout, code }).toEqual({ stdout: "", code: 1 });
    expect(stderr).toMatch(/^xfilter: BACKEND_UNSUPPORTED: The backend \S+ cannot reject packets that enter the guest/);
  });
  it.each([
    ["nftables", [], ["reject out", "drop in"]],
    ["iptables", ["--backend", "iptables"], ["reject out", "reject in"]],
  ])("is shown by plan as what it becomes: with %s", async (_, words, expected) => {
    const { stdout } = await xfilter(["plan", image, "--rules", path("both"), ...words]);
    const actions = stdout
      .trimEnd()
      .split("\n")
      .map((line) => line.split(" ").slice(0, 2).join(" "));
    expect(new Set(actions)).toEqual(new Set(expected));
  });
  it("is set by a dry run that is like one that can", async () => {
    const { stdout, code } = await xfilter(
      dryRun("--rules", path("both"), "--like", "iptables-nft"),
      untilTold("+ reject in "),
    );
    expect({ stdout, code }).toEqual({ stdout: expect.stringMatching(/^\S+ \+ reject in tcp /m), code: 0 });
  });
  it("is not asked of one that is not used", async () => {
    const { stderr, code } = await xfilter(["filter", image, "--rules", path("entering"), "--like", "iptables"]);
    expect({ stderr, code }).toEqual({ stderr: expect.stringContaining("--like is for --backend dry-run"), code: 2 });
  });
});

describe("xfilter filter with dry-run", () => {
  it("prints what would be set until Ctrl-C, and leaves a line for each change in the audit file", async () => {
    const { stdout, stderr, code } = await xfilter(
      dryRun("--rules", path("rules"), "--audit", path("audit")),
      untilSet,
    );
    expect({ stderr, code }).toEqual({ stderr: "", code: 0 });
    expect(stdout).toMatch(/^filtering no device by 1 rule with dry-run\n/);
    expect(stdout).toMatch(/^\S+ \+ drop out tcp \S+ \S+:22 of \d+\/ssh uid 1003 by /m);
    const lines = readFileSync(path("audit"), "utf8").trimEnd().split("\n");
    const events = lines.map((line) => JSON.parse(line).event as string);
    const count = (event: string) => events.filter((other) => other === event).length;
    expect(count("set")).toBeGreaterThan(0);
    expect(count("cleared")).toBe(count("set"));
    expect(events.at(-1)).toBe("ended");
  });
  it("says that it keeps no state", async () => {
    const { stderr, code } = await xfilter(dryRun("--rules", path("rules"), "--state", state), untilSet);
    expect({ stderr, code }).toEqual({
      stderr: "xfilter: warning: --state is not used: dry-run keeps nothing\n",
      code: 0,
    });
    expect(existsSync(state)).toBe(false);
  });
  it("goes on when the audit file cannot be written, and says so", async () => {
    const { stdout, stderr, code } = await xfilter(dryRun("--rules", path("rules"), "--audit", "/dev/full"), untilSet);
    expect(stdout).toContain("+ drop");
    expect(stderr).toMatch(
      /^xfilter: warning: The audit file could not be written: no space left on device \(ENOSPC\)/,
    );
    expect(stderr.trimEnd().split("\n")).toHaveLength(1);
    expect(code).toBe(0);
  });
  it("says of an audit file that it cannot be made", async () => {
    const { stderr, code } = await xfilter(dryRun("--rules", path("rules"), "--audit", path("no/audit")));
    expect({ stderr, code }).toEqual({
      stderr: expect.stringMatching(/^xfilter: OUTPUT: The audit file .*ENOENT/),
      code: 1,
    });
  });
  it("goes on when nobody reads what it prints, and says so", async () => {
    const { stderr, code } = await xfilter(
      dryRun("--rules", path("rules"), "--audit", path("audit-unread")),
      (child) => {
        child.stdout.destroy();
        child.stderr.once("data", () => child.kill("SIGINT"));
      },
    );
    expect({ stderr, code }).toEqual({ stderr: expect.stringMatching(/^xfilter: warning: Nobody reads/i), code: 0 });
    expect(readFileSync(path("audit-unread"), "utf8")).toContain('"why":"stopped"');
  });
  it("wants --pause for --hold", async () => {
    const { stderr, code } = await xfilter(dryRun("--rules", path("rules"), "--hold", "apply"));
    expect({ stderr, code }).toEqual({ stderr: expect.stringContaining("--pause"), code: 2 });
  });
});

describe("xfilter block", () => {
  it.each([
    [[]],
    [["--uid", ""]],
    [["--uid", "abc"]],
    [["--uid", "-1"]],
    [["--pid", "1e3"]],
    [["--remote-port", "22"]],
    [["--uid", "1", "--for", "10"]],
  ])("blocks nobody by %j", async (args) => {
    const { stdout, stderr, code } = await xfilter(["block", image, "--backend", "dry-run", ...args]);
    expect({ stdout, code }).toEqual({ stdout: "", code: 2 });
    expect(stderr).toMatch(/^xfilter: USAGE: /);
  });
  it("names its own options in what is wrong", async () => {
    const wrong = ["block", image, "--backend", "dry-run", "--uid", "1"];
    const said = async (...args: readonly string[]) => (await xfilter([...wrong, ...args])).stderr;
    expect(await said("--remote-port", "70000")).toMatch(/^xfilter: USAGE: Bad rule: --remote-port: /);
    expect(await said("--lease", "1ms")).toMatch(/^xfilter: USAGE: --lease is, in milliseconds, a number from 1000 /);
    expect(await said("--never-block", "no")).toMatch(/^xfilter: USAGE: Bad option: --never-block: "no" /);
  });
  it("deletes from connection tracking with iptables alone, and never what is everybody's", async () => {
    const said = async (zone: string, backend: string) => {
      const words = ["block", image, "--uid", "1", "--flush-conntrack-zone", zone, "--backend", backend];
      return (await xfilter(words)).stderr;
    };
    expect(await said("7", "nftables")).toMatch(/^xfilter: USAGE: --flush-conntrack-zone is for --backend iptables/);
    expect(await said("0", "iptables-nft")).toMatch(
      /^xfilter: USAGE: --flush-conntrack-zone is a zone of this guest's own/,
    );
    expect(await said("65536", "iptables")).toMatch(
      /^xfilter: USAGE: --flush-conntrack-zone is a number from 1 to 65535/,
    );
  });
});
