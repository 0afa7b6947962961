import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { unpack } from "../../vmcore-fixtures/unpack.ts";

// Examples in the documents: ```ts is type-checked and run, ```ts no-run is type-checked only (it needs what a test
// machine has not), lines of ```console that start with "$ xfilter" or "$ npx xfilter" are run. `memory.elf` is the committed image,
// `vm1.rules` a rule about it.
const root = join(import.meta.dirname, "../..");
// Within the package, where "xfilter-core" is the package itself.
const folder = join(root, ".cache/docs-examples");

interface Example {
  readonly name: string;
  readonly kind: "ts" | "console";
  readonly runs: boolean;
  readonly text: string;
}

const documents = [root, join(root, "docs")].flatMap((within) =>
  readdirSync(within)
    .filter((name) => name.endsWith(".md"))
    .map((name) => relative(root, join(within, name))),
);
const examples = documents.flatMap(examplesIn);

function examplesIn(document: string): Example[] {
  const text = readFileSync(join(root, document), "utf8");
  return [...text.matchAll(/^```(ts|console)( no-run)?\n(.*?)^```$/gms)].map(([, kind, noRun, body], i) => ({
    name: `${document.replaceAll(/\W/g, "-")}-${i + 1}`,
    kind: kind as Example["kind"],
    runs: noRun === undefined,
    text: body!,
  }));
}

beforeAll(async () => {
  const { image } = await unpack();
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  symlinkSync(image, join(folder, "memory.elf"));
  writeFileSync(join(folder, "vm1.rules"), "deny tcp from any to any 22 out uid 1003\n");
  symlinkSync(join(root, "dist/cli/main.js"), join(folder, "xfilter"));
  chmodSync(join(root, "dist/cli/main.js"), 0o755);
  for (const { name, kind, text } of examples) {
    if (kind === "ts") writeFileSync(join(folder, `${name}.ts`), text);
  }
});

describe("an example of the documents", () => {
  it("has the right types", () => {
    const tsconfig = {
      extends: relative(folder, join(root, "tsconfig.json")),
      // Scripts are modules even when they import nothing, and they import the package as it is built.
      compilerOptions: { moduleDetection: "force", paths: {} },
      include: ["*.ts"],
    };
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(tsconfig));
    execFileSync(join(root, "node_modules/.bin/tsc"), ["--project", folder], { cwd: folder, encoding: "utf8" });
  });

  it.each(examples.filter(({ kind, runs }) => kind === "ts" && runs))("$name runs", ({ name }) => {
    execFileSync(join(root, "node_modules/.bin/tsx"), [`${name}.ts`], { cwd: folder, stdio: "pipe" });
  });

  const commands = examples
    .filter(({ kind, runs }) => kind === "console" && runs)
    .flatMap(({ name, text }) =>
      [...text.matchAll(/^\$ (?:npx )?(xfilter .*)$/gm)].map(([, command]) => ({ name, command })),
    );

  it.each(commands)("$name: $command", ({ command }) => {
    const env = { ...process.env, PATH: `${folder}:${process.env.PATH}` };
    expect(execFileSync("sh", ["-c", command!], { cwd: folder, encoding: "utf8", env })).not.toBe("");
  });
});
