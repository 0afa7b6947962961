import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { missingProgram } from "../command.ts";
import type { LabDisk } from "./lab-disk.ts";

const startSeconds = 300;

// What of a CPU Xen or Dom0 do not survive under QEMU's emulation: SMAP (a fault on the way back to user mode), MWAIT (a
// general protection fault).
const cpu = "EPYC,-smap,-monitor,-rdtscp,-avx,-avx2,-f16c";
// Xen that gives up, or whose Dom0 does, reboots, and QEMU ends with that.
const xenArguments = [
  ..."console=com1 com1=115200,8n1 loglvl=all guest_loglvl=all cpuidle=0 sched=credit".split(" "),
  // With a lazy switch of the floating-point unit, a paravirtual domain's program gets the registers of another under QEMU 7.2, and crashes
  // or reckons wrong: 9 of 34,000 rounds of a test did, and none of 40,000 with this. It looks as if XSAVE and XRSTOR did not fault
  // there while CR0.TS is set.
  "spec-ctrl=eager-fpu",
  ..."dom0_mem=1536M,max:1536M dom0_max_vcpus=2".split(" "),
].join(" ");
const dom0Arguments = "console=hvc0 earlyprintk=xen panic=-1 net.ifnames=0 mitigations=off";

export interface Dom0Options {
  /** A directory of the host, /share of Dom0's. */
  readonly share: string;
  readonly signal: AbortSignal;
}

/** A script that ended otherwise than with 0. */
export class ScriptError extends Error {
  readonly code: number;
  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

interface Waiting {
  resolve: (code: number) => void;
  reject: (error: Error) => void;
}

/** Xen with its Dom0 in an emulated machine, which runs scripts and shares a directory with the host. */
export class Dom0 {
  readonly share: string;
  private tell!: (error: Error) => void;
  /** Rejects when the machine ends, or is no longer wanted: what is waited for otherwise than by a script is waited for beside it. */
  readonly gone = new Promise<never>((_, reject) => {
    this.tell = reject;
  });
  private readonly child: ChildProcess;
  private readonly sockets: string;
  private readonly console: string;
  private readonly waiting = new Map<string, Waiting>();
  private server: Server | null = null;
  private rest = "";
  private scripts = 0;
  private ended: Error | null = null;

  private constructor(lab: LabDisk, sockets: string, options: Dom0Options) {
    this.share = options.share;
    this.sockets = sockets;
    this.console = join(options.share, "xen.log");
    this.gone.catch(() => {});
    // It ends with the thread that started it, however that ends.
    this.child = spawn(
      "setpriv",
      [
        ...["--pdeathsig", "KILL", "qemu-system-x86_64"],
        ..."-M q35 -accel tcg,thread=multi -smp 2 -m 4096 -display none -nic none -no-reboot".split(" "),
        ...["-cpu", cpu, "-kernel", lab.xen, "-append", xenArguments],
        ...["-initrd", `${lab.kernel} ${dom0Arguments},${lab.initramfs}`],
        ...["-drive", `file=${lab.disk},if=none,id=disk,format=raw,snapshot=on`],
        ...["-device", "virtio-blk-pci,drive=disk,disable-legacy=on"],
        ...["-virtfs", `local,path=${options.share},mount_tag=share,security_model=none,multidevs=remap`],
        ...["-chardev", `socket,id=port,path=${join(sockets, "port")}`],
        ...["-device", "virtio-serial-pci", "-device", "virtserialport,chardev=port,nr=1"],
        ...["-serial", `file:${this.console}`, "-monitor", "none"],
      ],
      { stdio: ["ignore", "ignore", "pipe"] },
    );
    let errors = "";
    this.child.stderr?.on("data", (text: Buffer) => (errors += text));
    this.child.on("error", () => this.end(missingProgram("setpriv")));
    this.child.on("close", (code, signal) =>
      this.end(new Error(`QEMU ended with ${signal ?? code}: ${errors.trim()}`)),
    );
    options.signal.addEventListener("abort", () => this.end(options.signal.reason as Error), { once: true });
  }

  /** Boots, and resolves when Xen's tools answer. */
  static async start(lab: LabDisk, options: Dom0Options): Promise<Dom0> {
    options.signal.throwIfAborted();
    await mkdir(options.share, { recursive: true });
    const sockets = await mkdtemp(join(tmpdir(), "xfilter-xen-"));
    const server = createServer().listen(join(sockets, "port"));
    const dom0 = new Dom0(lab, sockets, options);
    dom0.server = server;
    server.on("connection", (socket) => dom0.serve(socket));
    try {
      const code = await dom0.answer("up", startSeconds);
      if (code !== 0) throw new Error("Xen's tools did not start");
      return dom0;
    } catch (error) {
      const console = existsSync(dom0.console) ? await readFile(dom0.console, "latin1") : "";
      await dom0.close();
      throw new Error(`${(error as Error).message}\nXen's console:\n${console.slice(-3000)}`);
    }
  }

  /** Runs a script of Dom0's shell to its end and returns what it printed. */
  async run(script: string, seconds: number): Promise<string> {
    const name = `script-${++this.scripts}`;
    await writeFile(join(this.share, `${name}.sh`), script);
    const answer = this.answer(name, seconds);
    this.port?.write(`${name}\n`);
    const code = await answer;
    const log = await readFile(join(this.share, `${name}.log`), "utf8");
    if (code !== 0) throw new ScriptError(code, `A script of Dom0 ended with ${code}:\n${log.slice(-3000)}`);
    return log;
  }

  async close(): Promise<void> {
    const gone = new Promise((resolve) => this.child.once("close", resolve));
    if (this.child.exitCode === null && this.child.signalCode === null && this.child.kill("SIGKILL")) await gone;
    this.server?.close();
    await rm(this.sockets, { recursive: true, force: true });
  }

  private port: Socket | null = null;

  private serve(socket: Socket): void {
    this.port = socket;
    socket.setEncoding("latin1");
    socket.on("error", () => {});
    socket.on("data", (text: string) => {
      const lines = (this.rest + text).split("\n");
      this.rest = lines.pop() ?? "";
      for (const line of lines) {
        const [name = "", code] = line.split(" ");
        this.waiting.get(name)?.resolve(Number(code));
        this.waiting.delete(name);
      }
    });
  }

  private answer(name: string, seconds: number): Promise<number> {
    return new Promise((resolve, reject) => {
      if (this.ended) return reject(this.ended);
      const timer = setTimeout(
        () => reject(new Error(`Dom0 did not answer in ${seconds} s (${name})`)),
        seconds * 1000,
      );
      const done =
        <T>(settle: (value: T) => void) =>
        (value: T) => {
          clearTimeout(timer);
          settle(value);
        };
      this.waiting.set(name, { resolve: done(resolve), reject: done(reject) });
    });
  }

  private end(error: Error): void {
    this.ended ??= error;
    this.tell(this.ended);
    for (const { reject } of this.waiting.values()) reject(this.ended);
    this.waiting.clear();
  }
}
