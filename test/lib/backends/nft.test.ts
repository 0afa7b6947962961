import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { installedGuests, nftables } from "../../../lib/backends/index.ts";
import { readDevice } from "../../../lib/backends/interface.ts";
import { applyCommands } from "../../../lib/backends/nftables/nft.ts";
import { planOf } from "../../../lib/testing/plan.ts";
import { pattern } from "../../backends/plan.ts";

// With programs in nft's place that answer as it does where the tests cannot go.

const { signal } = new AbortController();
const folder = mkdtempSync(join(tmpdir(), "xfilter-test-nft-"));

beforeAll(() => vi.stubEnv("PATH", `${folder}:${process.env.PATH}`));
afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

function nft(script: string): void {
  writeFileSync(join(folder, "nft"), `#!/bin/sh\n${script}\n`);
  chmodSync(join(folder, "nft"), 0o755);
}

describe("nft", () => {
  it("gets its commands as JSON", async () => {
    nft(`cp /dev/stdin ${folder}/input; echo "$@" > ${folder}/words`);
    await applyCommands([{ add: { table: { family: "netdev", name: "t" } } }], signal);
    expect(JSON.parse(readFileSync(join(folder, "input"), "utf8"))).toEqual({
      nftables: [{ add: { table: { family: "netdev", name: "t" } } }],
    });
    expect(readFileSync(join(folder, "words"), "utf8")).toBe("-j -f -\n");
  });

  it.each([
    ["Operation not permitted (you must be root)", "BACKEND_PERMISSION", "CAP_NET_ADMIN"],
    ["netlink: Error: cache initialization failed: Operation not permitted", "BACKEND_PERMISSION", "root"],
    [
      "internal:0:0-0: Error: Could not process rule: No buffer space available",
      "BACKEND_FAILED",
      "refused: Could not",
    ],
    ["Error: \u001b[2Jodd\u202e", "BACKEND_FAILED", "\\x1b[2Jodd\\xe2\\x80\\xae"],
    ["", "BACKEND_FAILED", "ended with 1"],
  ])("that says %j is %s", async (said, code, words) => {
    nft(`printf '%s' '${said}' >&2; exit 1`);
    const failure = applyCommands([], signal);
    await expect(failure).rejects.toMatchObject({ code, message: expect.stringContaining(words) });
  });

  it("that says very much is quoted in one line", async () => {
    nft("yes 'Error: no, no, no' | head -c 3000000 >&2; exit 1");
    const error = await applyCommands([], signal).catch((error: Error) => error.message);
    expect(error).toMatch(/^`nft` refused: no, no, no\. /);
    expect(error!.length).toBeLessThan(500);
  });

  it("that prints no JSON has failed", async () => {
    nft("echo '{'");
    await expect(installedGuests({ signal })).rejects.toMatchObject({ code: "BACKEND_FAILED" });
  });

  it("is killed by an abort, which is the answer", async () => {
    nft(`echo $$ > ${folder}/pid; exec sleep 100`);
    const abort = new AbortController();
    const running = applyCommands([], abort.signal);
    await vi.waitUntil(() => existsSync(join(folder, "pid")));
    abort.abort(new Error("enough"));
    await expect(running).rejects.toThrow("enough");
    await expect(applyCommands([], abort.signal)).rejects.toThrow("enough");
  });
});

describe("where the kernel has no egress hook, and no nftables for bridges", () => {
  const refuse = `if grep -q -e '"hook":"egress"' -e '"bridge"' /dev/stdin; then
    echo 'internal:0:0-0: Error: Could not process rule: Operation not supported' >&2; exit 1
  fi`;
  const scope = async () => ({ id: "vm", bootId: "1", interfaces: [(await readDevice("lo"))!] });

  it("nothing is promised for what enters the guest, and a plan for it is refused", async () => {
    nft(refuse);
    const backend = nftables();
    expect(backend.capabilities.actions.in).toEqual(["drop", "accept", "log"]);
    await backend.open(await scope(), { signal, leaseMs: null });
    expect(backend.capabilities.actions).toEqual({ out: ["drop", "reject", "accept", "log"], in: [] });
    const reconciled = backend.reconcile(planOf([pattern({ direction: "in" })]), { signal });
    await expect(reconciled).rejects.toMatchObject({ code: "BACKEND_UNSUPPORTED" });
  });

  it("and no ingress hook either, nothing is opened", async () => {
    nft("echo 'Error: Could not process rule: Operation not supported' >&2; exit 1");
    const opening = nftables().open(await scope(), { signal, leaseMs: null });
    await expect(opening).rejects.toMatchObject({ code: "BACKEND_UNSUPPORTED" });
  });
});
