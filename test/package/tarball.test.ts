import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { unpack } from "../../vmcore-fixtures/unpack.ts";

const root = join(import.meta.dirname, "../..");
const consumer = mkdtempSync(join(tmpdir(), "xfilter-consumer-"));
let files: string[];
let image: string;

function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, { cwd: consumer, encoding: "utf8" });
}

/** What a compiler says of a strict program that is given no types but these. */
function compile(tsc: string, program: string, lib: readonly string[]): string {
  const strict = { strict: true, exactOptionalPropertyTypes: true, skipLibCheck: false, noEmit: true };
  const compilerOptions = { ...strict, types: [], lib, target: "es2022", module: "nodenext" };
  writeFileSync(join(consumer, "program.mts"), program);
  writeFileSync(join(consumer, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["program.mts"] }));
  return spawnSync(tsc, ["--project", "."], { cwd: consumer, encoding: "utf8" }).stdout;
}

beforeAll(async () => {
  ({ image } = await unpack());
  const packed = execFileSync("npm", ["pack", "--json", "--pack-destination", consumer], {
    cwd: root,
    encoding: "utf8",
  });
  const [tarball] = JSON.parse(packed) as { filename: string; files: { path: string }[] }[];
  files = tarball!.files.map(({ path }) => path);
  writeFileSync(join(consumer, "package.json"), '{ "name": "consumer", "private": true }\n');
  const packages = [`./${tarball!.filename}`, "typescript@5.4.5"];
  run("npm", "install", "--prefer-offline", "--no-audit", "--no-fund", ...packages);
});

afterAll(() => rmSync(consumer, { recursive: true }));

/** Attaches and prints the name of process 1. */
const PROGRAM = `
const guest = await introspect(process.argv[2]!);
const snapshot = await guest.snapshot();
console.log(snapshot.process(1)?.comm);
await guest.close();
`;
const JAVASCRIPT = PROGRAM.replace("!", "");

describe("the tarball", () => {
  it("holds what runs, and nothing else", () => {
    const kinds =
      /^(dist\/.*\.(js|cjs|map|d\.ts|d\.cts)|dist\/xfilter\.1|prebuilds\/linux-x64\/.*\.node|binding\/load\.cjs|contrib\/systemd\/[a-z@-]+\.(service|conf)|docs\/[a-z-]+\.md|docs\/rules\.schema\.json|[A-Z]+(\.md)?|package\.json)$/;
    expect(files.filter((path) => !kinds.test(path))).toEqual([]);
    expect(files).toContain("prebuilds/linux-x64/xfilter-core.glibc.node");
    expect(files).toContain("LICENSE");
  });
  it("holds every file that its documents link to", () => {
    const installed = join(consumer, "node_modules/xfilter-core");
    const links = files
      .filter((path) => path.endsWith(".md"))
      .flatMap((path) =>
        [...readFileSync(join(installed, path), "utf8").matchAll(/\]\((?!https?:|#)([^)#]+)/g)].map(([, link]) =>
          join(dirname(path), link!),
        ),
      );
    expect(links).toContain("docs/api.md");
    expect(links.filter((link) => !files.includes(link))).toEqual([]);
  });
  it("works in an ES module", () => {
    writeFileSync(join(consumer, "program.mjs"), `import { introspect } from "xfilter-core";${JAVASCRIPT}`);
    expect(run("node", "program.mjs", image)).toMatch(/\S/);
  });
  it("works in a CommonJS module", () => {
    const program = `const { introspect } = require("xfilter-core"); (async () => {${JAVASCRIPT}})();`;
    writeFileSync(join(consumer, "program.cjs"), program);
    expect(run("node", "program.cjs", image)).toMatch(/\S/);
  });
  it("gives both kinds of module one addon", () => {
    const program = `
      import { createRequire } from "node:module";
      import { introspect } from "xfilter-core";
      const guests = await Promise.all(
        [introspect, createRequire(import.meta.url)("xfilter-core").introspect].map((attach) => attach(process.argv[2])),
      );
      console.log(guests.length);
      await Promise.all(guests.map((guest) => guest.close()));`;
    writeFileSync(join(consumer, "both.mjs"), program);
    expect(run("node", "both.mjs", image)).toBe("2\n");
  });
  it("has the backends, for both kinds of module", () => {
    const program = `
      import { createRequire } from "node:module";
      import { nftables } from "xfilter-core/backends";
      const { dryRun } = createRequire(import.meta.url)("xfilter-core/backends");
      console.log(nftables().name, dryRun().name);`;
    writeFileSync(join(consumer, "backends.mjs"), program);
    expect(run("node", "backends.mjs")).toBe("nftables dry-run\n");
  });
  it("has metrics for both kinds of module, and loads no prom-client for them", () => {
    const program = `
      import { createRequire } from "node:module";
      import { filterMetrics } from "xfilter-core/metrics";
      for (const measure of [filterMetrics, createRequire(import.meta.url)("xfilter-core/metrics").filterMetrics]) {
        try { measure({}); } catch (error) { console.log(error.code); }
      }`;
    writeFileSync(join(consumer, "metrics.mjs"), program);
    expect(() => run("node", "--eval", 'require("prom-client")')).toThrow(/Cannot find module/);
    expect(run("node", "metrics.mjs")).toBe("ERR_INVALID_OPTION\nERR_INVALID_OPTION\n");
  });
  it("has the conformance kit, which passes what it ships, for a test runner that is not ours", () => {
    const program = `
      import { test } from "node:test";
      import { backendConformance, MemoryBackend, MemoryFirewall } from "xfilter-core/testing";
      const firewall = new MemoryFirewall();
      for (const { name, skip, run } of backendConformance({ create: () => new MemoryBackend(firewall) })) {
        test(name, { skip: skip ?? false }, run);
      }`;
    writeFileSync(join(consumer, "conformance.test.mjs"), program);
    expect(run("node", "--test", "conformance.test.mjs")).toMatch(/fail 0/);
  });
  it.each(["mts", "cts"])("has types for a strict .%s file", (extension) => {
    const typed = `
      import { introspect, type Process, type Snapshot, XFilterError } from "xfilter-core";
      async function main(): Promise<void> {
        const guest = await introspect({ vmcore: process.argv[2]! }, { walkBudgetMs: 5000 });
        const snapshot: Snapshot = await guest.snapshot();
        const init: Process | undefined = snapshot.process(1);
        const started: bigint | undefined = init?.startTime;
        console.log(init?.comm, typeof started);
        await guest.close();
      }
      main().catch((error: unknown) => {
        if (error instanceof XFilterError && error.code === "SOURCE_NOT_FOUND") console.log(error.advice);
        // @ts-expect-error codes are a closed list
        if (error instanceof XFilterError && error.code === "NO_SUCH_CODE") return;
        throw error;
      });`;
    writeFileSync(join(consumer, `typed.${extension}`), typed);
    const types = ["--types", "node", "--typeRoots", join(root, "node_modules/@types")];
    const strict = ["--strict", "--exactOptionalPropertyTypes", "--target", "es2022", "--module", "nodenext"];
    run(join(root, "node_modules/.bin/tsc"), ...strict, ...types, "--skipLibCheck", "false", `typed.${extension}`);
    expect(run("node", `typed.${extension.replace("ts", "js")}`, image)).toMatch(/\S+ bigint/);
  });
  // TypeScript's oldest version that api.md names, and the one of this checkout.
  const compilers = ["node_modules/.bin/tsc", join(root, "node_modules/.bin/tsc")];
  it.each(compilers)("has types that need neither @types/node nor more than ES2022, by %s", (tsc) => {
    const { exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    const entries = Object.keys(exports).filter((path) => !path.endsWith(".json"));
    expect(entries).toContain("./filter");
    const program = entries.map((path, i) => `export * as entry${i} from "${path.replace(".", "xfilter-core")}";`);
    expect(compile(tsc, program.join("\n"), ["es2022"])).toBe("");
  });
  it.each(compilers)("has types that a backend of one's own can be written by, by %s", (tsc) => {
    const backend = `
      import type { RuleBackend } from "xfilter-core/backends";
      declare function run(command: string, signal: AbortSignal): Promise<void>;
      export const own: RuleBackend = {
        name: "own",
        capabilities: { actions: { out: ["drop"], in: [] }, families: [4], counters: false, leases: false },
        open: (_scope, { signal }) => run("open", signal),
        inspect: async ({ signal }) => (await run("look", signal), { patterns: [], bites: true, problems: [] }),
        reconcile: async (plan, { signal }: { readonly signal: AbortSignal }) => {
          await run("change", signal);
          return { added: plan.patterns.map(({ key }) => key), removed: [], unchanged: 0, repaired: false };
        },
        close: async () => {},
      };`;
    expect(compile(tsc, backend, ["es2022", "dom"])).toBe("");
    const signal = "interface AbortSignal { readonly aborted: boolean; readonly reason: unknown }";
    expect(compile(tsc, `${signal}\n${backend}`, ["es2022"])).toBe("");
  });
  it.each(compilers)(
    "has types for a signal and for `await using` where the program's types know them, by %s",
    (tsc) => {
      const program = `
      import { introspect } from "xfilter-core";
      export async function look(signal: AbortSignal): Promise<void> {
        await using guest = await introspect({ vmcore: "memory.elf" }, { signal });
        await guest.snapshot({ signal });
      }`;
      expect(compile(tsc, program, ["es2022", "dom", "esnext.disposable"])).toBe("");
    },
  );
  it("has the command", () => {
    expect(run("npx", "--no", "xfilter", "ps", image, "--json").split("\n").length).toBeGreaterThan(2);
  });
  it("runs no script when it is installed", () => {
    const manifest = JSON.parse(readFileSync(join(consumer, "node_modules/xfilter-core/package.json"), "utf8"));
    for (const hook of ["preinstall", "install", "postinstall"]) expect(manifest.scripts).not.toHaveProperty(hook);
  });
});
