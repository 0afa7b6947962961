import { readFileSync, writeSync } from "node:fs";

/** A program that Dom0 runs, by `XenLab.run`: what it is given, and what it is to print. */
export async function program<Argument>(body: (argument: Argument) => Promise<unknown>): Promise<void> {
  const result = await body(JSON.parse(readFileSync(process.argv[2]!, "utf8")) as Argument);
  writeSync(1, `${JSON.stringify(result ?? null)}\n`);
}
