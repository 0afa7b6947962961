import { chmod, copyFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "tsup";
import { here } from "../cache.ts";
import { type LiveWorkload, liveBoot } from "../live-boot.ts";
import { recipes } from "../recipes.ts";
import { Dom0, ScriptError } from "./dom0.ts";
import { configuration } from "./domain.ts";
import { labDisk } from "./lab-disk.ts";
import { type ListedDomain, parseList } from "./listed-domain.ts";
import { GuestFailed, LiveDomain, quoted } from "./live-domain.ts";
import { installPackage } from "./package.ts";
import type { DomainRecipe } from "./recipes.ts";

/** On a machine with much else to do, a guest may be too late for its own programs. */
const attempts = 3;
const bootSeconds = 900;

export interface LiveDomainOptions {
  /** "poses" if not given. */
  readonly workload?: LiveWorkload;
  /** Network devices, as xl.cfg(5) has them. */
  readonly vif?: readonly string[];
}

/** Xen in an emulated machine, whose Dom0 has this checkout's built package. */
export class XenLab {
  readonly dom0: Dom0;
  private readonly log: (line: string) => void;
  private last: Promise<unknown> = Promise.resolve();
  private programs = 0;

  private constructor(dom0: Dom0, log: (line: string) => void) {
    this.dom0 = dom0;
    this.log = log;
  }

  static async start(options: { signal: AbortSignal; log: (line: string) => void }): Promise<XenLab> {
    const share = await mkdtemp(join(tmpdir(), "xfilter-xen-share-"));
    let dom0: Dom0 | undefined;
    try {
      await chmod(share, 0o755); // for others than root in Dom0
      installPackage(share);
      dom0 = await Dom0.start(await labDisk(options.log), { share, signal: options.signal });
      const lab = new XenLab(dom0, options.log);
      // Emulated, domains that boot at once leave Dom0 too little of the CPUs.
      await lab.xl("sched-credit", "--domain=Domain-0", "--weight=2048");
      return lab;
    } catch (error) {
      await dom0?.close();
      await rm(share, { recursive: true, force: true });
      throw error;
    }
  }

  /** Starts a domain, and resolves when it stands still. */
  async start(recipe: DomainRecipe, { workload = "poses", vif = [] }: LiveDomainOptions = {}): Promise<LiveDomain> {
    const { suite, kernelPackage, name } = recipe;
    const guest = { ...recipes[0]!, name: suite, suite, kernelPackage };
    const boot = await this.inTurn(() => liveBoot(guest, workload, "xen")); // two domains may boot the same
    const at = (what: string) => join(this.dom0.share, `${name}.${what}`);
    await copyFile(boot.kernel, at("kernel"));
    await copyFile(boot.initramfs, at("initramfs"));
    // What is said later holds.
    const more = ['on_reboot = "restart"', `vif = [ ${vif.map((device) => JSON.stringify(device)).join(", ")} ]`, ""];
    await writeFile(at("cfg"), configuration(recipe) + more.join("\n"));
    for (let attempt = 1; ; ++attempt) {
      const domain = new LiveDomain(name, this.dom0.share, (script) => this.dom0.run(script, 60));
      try {
        await rm(domain.log, { force: true });
        // xl gives the script of a network device ten seconds.
        await this.inTurn(() => this.xl("create", "-q", `/share/${name}.cfg`));
        await domain.booted(0, bootSeconds, this.dom0.gone);
        return domain;
      } catch (error) {
        const badLuck = error instanceof GuestFailed || error instanceof ScriptError;
        if (!badLuck || attempt === attempts) throw error;
        this.log(`${name}: it failed, once more. ${error.message}`);
        await this.xl("destroy", name).catch(() => {}); // there may be none
      }
    }
  }

  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.last.then(work);
    this.last = result.catch(() => {});
    return result;
  }

  async xl(...words: string[]): Promise<string> {
    return this.dom0.run(`xl ${words.map(quoted).join(" ")}`, 120);
  }

  async list(): Promise<ListedDomain[]> {
    return parseList(await this.xl("list"));
  }

  /**
   * Runs a program of this repository with Dom0's Node: it is given the path of a file with the argument in JSON, and prints
   * JSON. There `xfilter-core` is the package.
   */
  async run<T>(source: string, argument: unknown, seconds: number): Promise<T> {
    const { share } = this.dom0;
    const name = `program-${++this.programs}`;
    const at = (what: string) => join(share, "programs", `${name}.${what}`);
    await build({
      entry: { [name]: join(here, "..", source) },
      outDir: join(share, "programs"),
      format: ["esm"],
      outExtension: () => ({ js: ".mjs" }),
      target: "node20",
      external: [/^xfilter-core/],
      config: false,
      silent: true,
    });
    await writeFile(at("argument"), JSON.stringify(argument));
    const words = `node /share/programs/${name}.mjs /share/programs/${name}.argument`;
    const errors = await this.dom0.run(`timeout -k 10 ${seconds} ${words} >/share/programs/${name}.out`, seconds + 60);
    if (errors !== "") this.log(`${source}: ${errors.trimEnd()}`);
    return JSON.parse(await readFile(at("out"), "utf8")) as T;
  }

  async close(): Promise<void> {
    await this.dom0.close();
    await rm(this.dom0.share, { recursive: true, force: true });
  }
}
