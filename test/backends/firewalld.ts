import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { IptablesVariant } from "../../lib/backends/index.ts";
import { sleep } from "../../lib/sleep.ts";
import { refuseTheMachinesOwnNetwork } from "../../vmcore-fixtures/lab.ts";

const BUS = `<busconfig><type>system</type><listen>unix:path=SOCKET</listen><auth>EXTERNAL</auth><policy context="default">
<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`;

/** What firewalld does its work with: nftables, or what it finds as `iptables`. */
export type FirewalldBackend = "nftables" | IptablesVariant;

/** From one question whether it runs to the next, and how often. */
const ASK_MS = 50;
const ASK_TIMES = 400;

/**
 * Debian's firewalld in this process's network namespace. What it reads and writes elsewhere is its own, too: a bus of its own, and a mount
 * namespace in which /etc/firewalld, /run and the commands that are called iptables are a folder's.
 */
export class Firewalld {
  readonly #folder = mkdtempSync(join(tmpdir(), "xfilter-firewalld-"));
  readonly #environment: NodeJS.ProcessEnv;
  readonly #bus: ChildProcess;
  #daemon: ChildProcess | undefined;

  /** `zones`: the devices of each; `policies`: XML. */
  constructor(
    backend: FirewalldBackend,
    zones: Readonly<Record<string, string>>,
    policies: Readonly<Record<string, string>>,
  ) {
    refuseTheMachinesOwnNetwork();
    this.#configure(backend, zones, policies);
    const socket = join(this.#folder, "bus");
    writeFileSync(join(this.#folder, "bus.conf"), BUS.replace("SOCKET", socket));
    // In Python the order of a set is another each time, and so would be that of rules.
    this.#environment = { ...process.env, DBUS_SYSTEM_BUS_ADDRESS: `unix:path=${socket}`, PYTHONHASHSEED: "0" };
    this.#bus = this.#spawn(
      "dbus-daemon",
      `--config-file=${join(this.#folder, "bus.conf")}`,
      "--nofork",
      "--nopidfile",
    );
  }

  #configure(
    backend: FirewalldBackend,
    zones: Readonly<Record<string, string>>,
    policies: Readonly<Record<string, string>>,
  ): void {
    const own = join(this.#folder, "etc");
    for (const name of ["etc/zones", "etc/policies", "run"]) mkdirSync(join(this.#folder, name), { recursive: true });
    const given = readFileSync("/etc/firewalld/firewalld.conf", "utf8");
    const by = backend === "nftables" ? backend : "iptables";
    writeFileSync(join(own, "firewalld.conf"), given.replace(/^FirewallBackend=.*/m, `FirewallBackend=${by}`));
    for (const [name, device] of Object.entries(zones))
      writeFileSync(join(own, "zones", `${name}.xml`), `<zone><interface name="${device}"/></zone>`);
    for (const [name, policy] of Object.entries(policies)) writeFileSync(join(own, "policies", `${name}.xml`), policy);
    const commands = join(this.#folder, "alternatives");
    cpSync("/etc/alternatives", commands, { recursive: true, verbatimSymlinks: true });
    const variant = backend === "nftables" ? "nft" : backend;
    for (const name of ["iptables", "ip6tables"].flatMap((one) =>
      ["", "-save", "-restore"].map((verb) => one + verb),
    )) {
      const [family, verb = ""] = name.split(/(?=-)/);
      rmSync(join(commands, name), { force: true });
      symlinkSync(`/usr/sbin/${family}-${variant}${verb}`, join(commands, name));
    }
  }

  /** It ends with this process. */
  #spawn(...words: string[]): ChildProcess {
    const stdio = ["ignore", "ignore", "ignore"] as const;
    return spawn("setpriv", ["--pdeathsig", "KILL", ...words], { stdio: [...stdio], env: this.#environment });
  }

  /** Resolves when its rules are in force. */
  async start(): Promise<void> {
    const folder = this.#folder;
    // The lock that all legacy iptables wait for stays the one of this machine.
    const mounts = `touch /run/xtables.lock ${folder}/run/xtables.lock
      mount --bind /run/xtables.lock ${folder}/run/xtables.lock
      mount --bind ${folder}/etc /etc/firewalld
      mount --bind ${folder}/alternatives /etc/alternatives
      mount --rbind ${folder}/run /run
      exec firewalld --nofork --nopid --log-file ${folder}/log`;
    this.#daemon = this.#spawn("unshare", "--mount", "sh", "-euc", mounts);
    for (let asked = 0; asked < ASK_TIMES; asked++) {
      const answer = await this.command("--state").catch(() => "");
      if (answer.includes("running")) return;
      if (this.#daemon.exitCode !== null) break;
      await sleep(ASK_MS, []);
    }
    const log = join(folder, "log");
    throw new Error(`firewalld does not start: ${existsSync(log) ? readFileSync(log, "utf8") : "it says nothing"}`);
  }

  /** What `firewall-cmd` says. */
  async command(...words: string[]): Promise<string> {
    const { stdout } = await promisify(execFile)("firewall-cmd", words, { env: this.#environment });
    return stdout;
  }

  /** As by `systemctl restart firewalld`. */
  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /** Takes what it put into the firewall out. */
  async stop(): Promise<void> {
    const daemon = this.#daemon;
    this.#daemon = undefined;
    if (!daemon || daemon.exitCode !== null) return;
    const gone = once(daemon, "exit");
    daemon.kill("SIGTERM");
    await gone;
  }

  async close(): Promise<void> {
    await this.stop();
    const gone = once(this.#bus, "exit");
    if (this.#bus.kill("SIGKILL")) await gone;
    rmSync(this.#folder, { recursive: true });
  }
}
