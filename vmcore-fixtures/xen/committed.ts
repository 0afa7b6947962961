import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { here } from "../cache.ts";
import { compressed } from "../committed.ts";
import type { Core } from "./cores.ts";

export const committedCore = "images/xen-pv-6.1.core.br";
export const committedCoreTruth = "images/xen-pv-6.1.truth.json";

/** Compresses a core to the committed file. */
export async function packCore({ core, directory }: Core): Promise<number> {
  const packed = await compressed(await readFile(core));
  await writeFile(join(here, committedCore), packed);
  await writeFile(join(here, committedCoreTruth), await readFile(join(directory, "truth.json")));
  await writeFile(join(here, "images/xen-pv-6.1.domain.json"), await readFile(join(directory, "domain.json")));
  return packed.length;
}
