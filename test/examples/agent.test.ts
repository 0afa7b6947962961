import { spawn } from "node:child_process";
import { getEventListeners, once } from "node:events";
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as client from "prom-client";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Agent } from "../../examples/agent.ts";
import { XFilterError } from "../../lib/errors.ts";
import { filterMetrics } from "../../lib/metrics/index.ts";
import { MemoryBackend, MemoryFirewall } from "../../lib/testing/index.ts";
import { MemoryHost } from "./memory-host.ts";

const NO_SSH = "deny tcp from any to any 22 out uid 1003";
const NO_HTTP = "deny tcp from any to any 80 out uid 1003";

type Line = { readonly level: string; readonly message: string; readonly guest?: string; readonly event?: string };

let directory: string;
let host: MemoryHost;
let firewall: MemoryFirewall;
let backends: MemoryBackend[];
let lines: Line[];
let agent: Agent;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "xfilter-agent-"));
  host = new MemoryHost("vm1", "vm2");
  firewall = new MemoryFirewall();
  [backends, lines] = [[], []];
  agent = make();
});

afterEach(async () => {
  await agent.stop({ keep: false });
  rmSync(directory, { recursive: true });
});

function make(more: Partial<ConstructorParameters<typeof Agent>[0]> = {}): Agent {
  const write = (level: string) => (fields: object, message: string) => void lines.push({ level, message, ...fields });
  const memory = () => {
    const backend = new MemoryBackend(firewall);
    backends.push(backend);
    return backend;
  };
  return new Agent({
    ...{ directory, lookMs: 50, retryMs: [10, 20], attach: host.attach, backends: { memory, other: memory } },
    logger: { debug: write("debug"), info: write("info"), warn: write("warn"), error: write("error") },
    ...more,
  });
}

/** As editors do: written beside, and put in its place in one step. */
function put(id: string, content: object | string): void {
  const text = typeof content === "string" ? content : JSON.stringify(content);
  writeFileSync(join(directory, `.${id}.json.swp`), text);
  renameSync(join(directory, `.${id}.json.swp`), join(directory, `${id}.json`));
}

/** Ports of the other end that are closed to the guest. */
const closed = (id = "vm1") => [...firewall.held(id).values()].map(({ remote }) => remote.ports?.[0]).sort();
const errors = (id = "vm1") => lines.filter(({ level, guest }) => level === "error" && guest === id);
const ended = (id = "vm1") => lines.filter(({ event, guest }) => event === "ended" && guest === id);

describe("an agent's guest", () => {
  it("is filtered from when its file comes, by other rules when it changes, not any more when it is gone", async () => {
    void agent.run();
    put("vm1", { target: "vm1", rules: [NO_SSH] });
    await expect.poll(closed).toEqual([22]);
    put("vm1", { target: "vm1", rules: [NO_SSH, NO_HTTP] });
    await expect.poll(closed).toEqual([22, 80]);
    expect(ended()).toEqual([]);
    rmSync(join(directory, "vm1.json"));
    await expect.poll(closed).toEqual([]);
    await expect.poll(ended).toHaveLength(1);
    expect(errors()).toEqual([]);
    expect(host.open).toBe(0);
  });

  it("keeps its rules where the file becomes wrong, of which is told once and what", async () => {
    put("vm1", { target: "vm1", rules: [NO_SSH] });
    void agent.run();
    await expect.poll(closed).toEqual([22]);
    for (const [wrong, what] of [
      ["{", /JSON/],
      [{ target: "vm1", rules: ["deny everything"] }, /rule/i],
      [{ target: "vm1", rules: [], bakcend: "memory" }, /"bakcend"/],
      [{ target: "vm1", rules: [], backend: "pf" }, /none of memory, other/],
      [{ target: "vm1", rules: ["reject tcp from any 22 to any in uid 1003"] }, /cannot reject packets that enter/],
    ] as const) {
      lines.length = 0;
      put("vm1", wrong);
      await expect.poll(errors).toHaveLength(1);
      expect(errors()).toMatchObject([
        { message: expect.stringMatching(/^vm1\.json/), error: { message: expect.stringMatching(what) } },
      ]);
    }
    expect([closed(), ended()]).toEqual([[22], []]);
    put("vm1", { target: "vm1", rules: [NO_HTTP] });
    await expect.poll(closed).toEqual([80]);
    expect(errors()).toHaveLength(1);
  });

  it("is waited for where it is not there, and again when it was gone", async () => {
    host.here.delete("vm1");
    put("vm1", { target: "vm1", rules: [NO_SSH] });
    void agent.run();
    await expect.poll(() => errors().length).toBeGreaterThan(1);
    expect(errors()[0]).toMatchObject({
      message: expect.stringMatching(/^tried again in 10 ms/),
      error: { code: "SOURCE_NOT_FOUND" },
    });
    host.here.add("vm1");
    await expect.poll(closed).toEqual([22]);
    host.leave("vm1");
    await expect.poll(ended).toHaveLength(1);
    expect(closed()).toEqual([]);
    host.here.add("vm1");
    await expect.poll(closed).toEqual([22]);
  });

  it("stays filtered while an editor has taken its file away and not yet put the new one there", async () => {
    put("vm1", { target: "vm1", rules: [NO_SSH] });
    agent = make({ lookMs: 10_000 });
    void agent.run();
    await expect.poll(closed).toEqual([22]);
    rmSync(join(directory, "vm1.json"));
    await new Promise((resolve) => setTimeout(resolve, 150));
    put("vm1", { target: "vm1", rules: [NO_HTTP] });
    await expect.poll(closed).toEqual([80]);
    expect(ended()).toEqual([]);
  });

  it("gets another filter for another target or backend, when what the old one had in force is taken out", async () => {
    put("vm1", { target: "vm1", rules: [NO_SSH] });
    void agent.run();
    await expect.poll(closed).toEqual([22]);
    put("vm1", { target: "vm2", rules: [NO_SSH], backend: "other" });
    await expect.poll(() => backends.length).toBe(2);
    await expect.poll(closed).toEqual([22]);
    expect(backends[0]!.calls.at(-1)).toBe("close");
    expect(ended()).toHaveLength(1);
  });

  it("whose file cannot be read is told of once", async () => {
    mkdirSync(join(directory, "vm1.json"));
    void agent.run();
    // Two looks later.
    for (const other of ["vm2", "vm3"]) {
      await expect.poll(errors).not.toEqual([]);
      put(other, "nonsense");
      await expect.poll(() => errors(other)).toHaveLength(1);
    }
    expect(errors()).toMatchObject([{ error: { code: "EISDIR" } }]);
  });

  it("gets the rules that came while it was looked for", async () => {
    let [asked, found] = [false, () => {}];
    const looked = new Promise<void>((resolve) => {
      found = resolve;
    });
    const attach = (target: string) => {
      asked = true;
      return looked.then(() => host.attach(target));
    };
    agent = make({ attach });
    put("vm1", { target: "vm1", rules: [NO_SSH] });
    void agent.run();
    await expect.poll(() => asked).toBe(true);
    put("vm1", { target: "vm1", rules: [NO_HTTP] });
    // Of this one is told when both have been read.
    put("vm2", "nonsense");
    await expect.poll(() => errors("vm2")).toHaveLength(1);
    found();
    await expect.poll(closed).not.toEqual([]);
    expect(closed()).toEqual([80]);
  });

  it("costs no more, however often it is tried again", async () => {
    const signals = new Set<AbortSignal>();
    const attach = (target: string, { signal }: { readonly signal: AbortSignal }) => {
      signals.add(signal);
      return host.attach(target);
    };
    agent = make({ attach });
    put("vm1", { target: "vm1", rules: ["reject tcp from any 22 to any in uid 1003"] });
    void agent.run();
    await expect.poll(() => errors().length).toBeGreaterThan(5);
    const listeners = [...signals].map((signal) => getEventListeners(signal, "abort").length);
    expect(listeners).toHaveLength(1);
    // One waits.
    expect(listeners[0]).toBeLessThan(3);
  });

  it("is not concerned with what becomes of another", async () => {
    put("vm1", { target: "vm1", rules: [NO_SSH] });
    put("vm2", "nonsense");
    put("vm3", { target: "vm3", rules: [NO_SSH] });
    void agent.run();
    await expect.poll(closed).toEqual([22]);
    await expect.poll(() => errors("vm3").length).toBeGreaterThan(1);
    expect([errors("vm1").length, errors("vm2").length]).toEqual([0, 1]);
  });
});

describe("an agent that ends", () => {
  beforeEach(async () => {
    put("vm1", { target: "vm1", rules: [NO_SSH] });
    put("vm2", { target: "vm2", rules: [NO_SSH] });
    void agent.run();
    await expect.poll(() => [closed("vm1"), closed("vm2")]).toEqual([[22], [22]]);
  });

  it("leaves what is in force, if it is to, and the next one goes on with it", async () => {
    expect(await agent.stop({ keep: true })).toBe(true);
    expect([closed("vm1"), closed("vm2"), host.open]).toEqual([[22], [22], 0]);
    agent = make();
    void agent.run();
    await expect.poll(() => lines.filter(({ event }) => event === "started")).toHaveLength(4);
    expect(await agent.stop({ keep: false })).toBe(true);
    expect([closed("vm1"), closed("vm2"), host.open]).toEqual([[], [], 0]);
  });

  it("says what it could not take out, and takes out the rest", async () => {
    backends[0]!.close = async () => {
      throw new XFilterError("BACKEND_FAILED", "the firewall is stuck", "Look at it");
    };
    expect(await agent.stop({ keep: false })).toBe(false);
    const of = backends[0]!.scope!.id;
    expect(errors(of).at(-1)).toMatchObject({
      message: expect.stringMatching(/^the filter did not end well: .*stuck/),
    });
    expect([closed("vm1"), closed("vm2")].filter(({ length }) => length === 0)).toHaveLength(1);
  });
});

it("an agent forgets the metrics of a guest whose file is gone", async () => {
  const register = new client.Registry();
  const metrics = filterMetrics(client, { register });
  agent = make({ metrics });
  put("vm1", { target: "vm1", rules: [NO_SSH] });
  void agent.run();
  await expect.poll(() => register.metrics()).toContain('xfilter_running{guest="vm1"} 1');
  rmSync(join(directory, "vm1.json"));
  await expect.poll(() => register.metrics()).not.toContain("vm1");
  metrics.close();
});

it("an agent says so where there is no directory", async () => {
  await expect(make({ directory: join(directory, "no") }).run()).rejects.toMatchObject({ code: "ENOENT" });
});

describe("an agent in a process of its own", () => {
  it.each([
    ["SIGTERM", "leaves all in force", []],
    ["SIGINT", "takes all out", ["cleared"]],
  ] as const)("serves metrics until %s, then %s, and ends with 0", async (signal, _, cleared) => {
    put("vm1", { target: "vm1", rules: [NO_SSH] });
    const port = await freePort();
    const program = join(import.meta.dirname, "agent-program.ts");
    const child = spawn(process.execPath, ["--import", "tsx", program, directory, `${port}`], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
    const events = () =>
      output
        .split("\n")
        .slice(0, -1)
        .map((line) => JSON.parse(line).event as string);
    await expect.poll(events).toEqual(["set", "started"]);
    const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    expect(metrics).toContain('xfilter_patterns_in_force{guest="vm1"} 1');
    child.kill(signal);
    expect(await once(child, "close")).toEqual([0, null]);
    expect(events().slice(2)).toEqual([...cleared, "ended"]);
  });
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
