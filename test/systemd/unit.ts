import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { run } from "../../vmcore-fixtures/command.ts";

/** An instance of the unit, on the host that on-a-host.sh makes. */
export class Unit {
  readonly name: string;
  readonly #instance: string;

  constructor(instance: string) {
    this.#instance = instance;
    this.name = `xfilter@${instance}.service`;
  }

  /** What /etc/xfilter has for it. */
  configure(settings: string, rules: string): void {
    mkdirSync("/etc/xfilter", { recursive: true });
    writeFileSync(`/etc/xfilter/${this.#instance}.conf`, settings);
    writeFileSync(`/etc/xfilter/${this.#instance}.rules`, rules);
  }

  /** Other settings of its [Service], instead of those before. */
  async dropIn(...texts: readonly string[]): Promise<void> {
    const directory = `/run/units/${this.name}.d`;
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory);
    texts.forEach((text, index) => {
      writeFileSync(`${directory}/${index}.conf`, text.includes("[Service]") ? text : `[Service]\n${text}\n`);
    });
    await systemctl("daemon-reload");
  }

  async start(): Promise<void> {
    await systemctl("start", this.name);
  }

  async restart(): Promise<void> {
    await systemctl("restart", this.name);
  }

  async stop(): Promise<void> {
    await systemctl("stop", this.name);
    // Fails where there is nothing to forget.
    await systemctl("reset-failed", this.name).catch(() => {});
  }

  async property(name: string): Promise<string> {
    return (await systemctl("show", "--value", "--property", name, this.name)).trim();
  }

  async pid(): Promise<number> {
    return Number(await this.property("MainPID"));
  }

  /** What it printed since it was last started: the journal has it a moment later. */
  async said(): Promise<string> {
    await sleep(200);
    const invocation = await this.property("InvocationID");
    return (await run("journalctl", ["--output", "cat", `_SYSTEMD_INVOCATION_ID=${invocation}`])).toString();
  }
}

export async function systemctl(...words: string[]): Promise<string> {
  return (await run("systemctl", ["--no-pager", ...words])).toString();
}
