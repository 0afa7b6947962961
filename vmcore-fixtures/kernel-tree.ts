import { readdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { run } from "./command.ts";

export interface KernelModule {
  name: string;
  content: Buffer;
}

/** What Debian's kernel packages unpack to: a kernel and its modules, in the place of before or after the /usr merge. */
export class KernelTree {
  private readonly files: readonly string[];

  private constructor(files: readonly string[]) {
    this.files = files;
  }

  static async open(root: string): Promise<KernelTree> {
    const entries = await readdir(root, { recursive: true, withFileTypes: true });
    return new KernelTree(entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name)));
  }

  kernel(): string {
    const path = this.files.find((file) => /\/vmlinuz(?:-[^/]*)?$/.test(file));
    if (!path) throw new Error("The kernel package contains no vmlinuz");
    return path;
  }

  /** The modules and those they need, each after what it needs. A module that is not there is built in, or unknown. */
  async modules(names: readonly string[]): Promise<KernelModule[]> {
    const found = new Map<string, KernelModule>();
    const visit = async (name: string): Promise<void> => {
      if (found.has(name)) return;
      const path = this.files.find(
        (file) =>
          basename(file)
            .replaceAll("-", "_")
            .replace(/\.ko(\..z)?$/, "") === name,
      );
      if (!path) return;
      const content = path.endsWith(".xz") ? await run("xz", ["-dc", path]) : await readFile(path);
      // The section .modinfo is a run of NUL-ended key=value strings.
      const depends = /\0depends=([^\0]*)\0/.exec(content.toString("latin1"))?.[1] ?? "";
      for (const needed of depends.split(",").filter(Boolean)) await visit(needed.replaceAll("-", "_"));
      found.set(name, { name, content });
    };
    for (const name of names) await visit(name);
    return [...found.values()];
  }
}
