import { cpSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { here } from "../cache.ts";

const root = join(here, "..");
/** What `npm run build` makes, and what loads it. */
const parts = ["package.json", "dist", "binding/load.cjs", "build/Release/xfilter-core.node"];

const manifest = (directory: string) =>
  JSON.parse(readFileSync(join(directory, "package.json"), "utf8")) as { dependencies?: Record<string, string> };

/** Puts this checkout's built package below `directory`, as npm would, with all that it needs there. */
export function installPackage(directory: string): void {
  const installed = join(directory, "node_modules");
  for (const part of parts)
    cpSync(join(root, part), join(installed, "xfilter-core", part), { recursive: true, dereference: true });
  const names = new Set(Object.keys(manifest(root).dependencies ?? {}));
  for (const name of names) {
    const from = join(root, "node_modules", name);
    cpSync(from, join(installed, name), { recursive: true, dereference: true });
    for (const needed of Object.keys(manifest(from).dependencies ?? {})) names.add(needed);
  }
}
