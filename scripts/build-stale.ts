// Builds what is missing or older than its sources, so that in a fresh checkout one command does everything.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");

interface Product {
  readonly script: string;
  readonly files: readonly string[];
  readonly sources: readonly string[];
  /** Names of the files in `sources` that matter. */
  readonly kind: RegExp;
}

const products: readonly Product[] = [
  {
    script: "build:native",
    files: ["build/Release/xfilter-core.node"],
    sources: ["CMakeLists.txt", "third_party", "binding"],
    kind: /\.(cc|h|txt)$/,
  },
  {
    script: "build:ts",
    files: [
      "dist/index.js",
      "dist/index.cjs",
      "dist/index.d.ts",
      "dist/index.d.cts",
      "dist/cli/main.js",
      "dist/xfilter.1",
    ],
    sources: ["package-lock.json", "tsup.config.ts", "tsconfig.json", "lib", "scripts/man-page.ts"],
    kind: /\.(ts|json)$/,
  },
];

for (const { script, files, sources, kind } of products) {
  const oldest = Math.min(...files.map((file) => modified(join(root, file))));
  const newest = Math.max(...sources.map((source) => newestIn(join(root, source), kind)));
  if (oldest >= newest) continue;
  const { status } = spawnSync("npm", ["run", "--silent", script], {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (status !== 0) process.exit(status ?? 1);
}

/** Milliseconds since 1970; before everything where there is no such file. */
function modified(path: string): number {
  return existsSync(path) ? statSync(path).mtimeMs : Number.NEGATIVE_INFINITY;
}

function newestIn(path: string, kind: RegExp): number {
  if (!existsSync(path) || !statSync(path).isDirectory()) return modified(path);
  const entries = readdirSync(path, { withFileTypes: true, recursive: true });
  const files = entries.filter((entry) => entry.isFile() && kind.test(entry.name));
  return Math.max(0, ...files.map((file) => modified(join(file.parentPath, file.name))));
}
