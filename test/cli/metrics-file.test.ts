import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { unpack } from "../../vmcore-fixtures/unpack.ts";

const command = join(import.meta.dirname, "../../dist/cli/main.js");
const directory = mkdtempSync(join(tmpdir(), "xfilter-metrics-"));
const path = (name: string) => join(directory, name);
const metrics = path("vm1.prom");
let image: string;

beforeAll(async () => {
  image = (await unpack()).image;
  writeFileSync(path("rules"), "deny tcp from any to any 22 out uid 1003\n");
});

afterAll(() => rmSync(directory, { recursive: true }));

/** Ends it as soon as something is in force, when it has been looked at. */
async function filter(file: string, { look = () => {}, options = "" } = {}) {
  const args = [command, "filter", image, "--backend", "dry-run", "--rules", path("rules"), "--metrics", file];
  const child = spawn(process.execPath, args, { env: { ...process.env, NODE_OPTIONS: options } });
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    if (!text.includes("drop") || child.killed) return;
    look();
    child.kill("SIGINT");
  });
  const code = await new Promise((resolve, reject) => child.once("error", reject).once("close", resolve));
  return { stderr, code };
}

describe("xfilter filter --metrics", () => {
  it("keeps metrics in a file that others may read, while it runs", async () => {
    let [text, mode] = ["", 0];
    const look = () => {
      text = readFileSync(metrics, "utf8");
      mode = statSync(metrics).mode & 0o777;
    };
    expect(await filter(metrics, { look })).toEqual({ stderr: "", code: 0 });
    expect(text).toContain(`xfilter_running{guest="${image}"} 1\n`);
    expect(text).toMatch(/^xfilter_patterns_in_force\{guest=".*"\} [1-9]/m);
    expect(mode & 0o044).toBe(0o044);
    expect(existsSync(metrics)).toBe(false);
  });

  it("starts nothing where the file cannot be written", async () => {
    const { stderr, code } = await filter(path("no/vm1.prom"));
    expect({ stderr, code }).toEqual({
      stderr: expect.stringMatching(/^xfilter: OUTPUT: The metrics .*ENOENT/),
      code: 1,
    });
  });

  it("says what to install where prom-client is not", async () => {
    const hook = `export const resolve = (name, context, next) => {
      if (name === "prom-client") throw Object.assign(new Error("Cannot find package"), { code: "ERR_MODULE_NOT_FOUND" });
      return next(name, context);
    };`;
    writeFileSync(path("hook.mjs"), hook);
    const register = `import { register } from "node:module"; register(${JSON.stringify(pathToFileURL(path("hook.mjs")))});`;
    writeFileSync(path("register.mjs"), register);
    const { stderr, code } = await filter(metrics, { options: `--import=${pathToFileURL(path("register.mjs"))}` });
    const message = /^xfilter: TOOL_NOT_FOUND: Metrics need the package prom-client, .* npm install prom-client/;
    expect({ stderr, code }).toEqual({ stderr: expect.stringMatching(message), code: 1 });
  });
});
