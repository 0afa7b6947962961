import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { truncateSync, writeFileSync } from "node:fs";
import { chown, copyFile, mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { complaint, inThreeTries } from "./boot-tries.ts";
import { missingProgram } from "./command.ts";
import { LiveAgent } from "./live-agent.ts";
import { type LiveBoot, type LiveWorkload, liveBoot } from "./live-boot.ts";
import { QmpConnection } from "./qmp.ts";
import type { Recipe } from "./recipes.ts";
import type { Truth } from "./truth.ts";

export interface LiveOptions {
  /** A file or a memfd that others can map, in huge pages or of two NUMA nodes, or memory that is QEMU's alone. */
  ram: "shared-file" | "memfd" | "hugetlb" | "nodes" | "private";
  /** A virtio disk of 64 MiB. */
  disk?: boolean;
  /** A virtio network device, with an echo server behind it; or on a tap device that is there, with no address yet: `card` in `bay`, on `nic`. */
  nic?: boolean | { readonly tap: string; readonly mac: string };
  /** What runs in it from the start: the recipe's poses, unless it is "lab". */
  workload?: LiveWorkload;
  /** More words for the kernel's command line. */
  commandLine?: string;
  /** More arguments for QEMU. */
  qemu?: readonly string[];
  /** Id of the user, and of his group, who runs QEMU: this process's, which has to be root to name another. */
  user?: number;
  /** Ends the guest, also while it boots. */
  signal: AbortSignal;
}

/** A guest that runs on until `close`, or until the process that started it ends. */
export interface LiveGuest {
  /** Path of a QMP socket that nobody is connected to. */
  readonly qmp: string;
  /** QEMU's process id. */
  readonly pid: number;
  /** QEMU's process: `kill` it, or wait for its `close`. */
  readonly qemu: ChildProcess;
  /** Path of the guest's RAM, of "shared-file" alone. */
  readonly memory: string | null;
  /** Where the guest's echo server is reached from here, with a NIC. */
  readonly echo: { readonly host: string; readonly port: number } | null;
  /** The fixture's own control connection. */
  readonly monitor: QmpConnection;
  /** What guest/live/agent.c answers; rejects where it refuses. One after the other. */
  command(text: string): Promise<string>;
  /** What the guest says of itself now, standing still; what runs has to be stopped before. */
  truth(): Promise<Truth>;
  /** Resets the guest as its power button's neighbour does. */
  reset(): Promise<{
    /** Resolves when it has booted and stands still again. */
    readonly booted: Promise<void>;
  }>;
  /** Ends QEMU and removes its files. */
  close(): Promise<void>;
}

const bootSeconds = 300;

function firstConnection(server: Server, path: string): Promise<Socket> {
  return new Promise((resolve, reject) => server.on("connection", resolve).on("error", reject).listen(path));
}

/** One that was free a moment ago: QEMU does not choose by itself. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function memoryArguments(ram: LiveOptions["ram"], { machine, memory }: Recipe, directory: string): string[] {
  const file = `mem-path=${join(directory, "memory.raw")}`;
  const backends = {
    "shared-file": `memory-backend-file,${file},share=on`,
    memfd: "memory-backend-memfd,share=on",
    hugetlb: "memory-backend-memfd,hugetlb=on,share=on",
    private: "memory-backend-ram",
  };
  if (ram !== "nodes") {
    return ["-M", `${machine},memory-backend=memory`, "-object", `${backends[ram]},id=memory,size=${memory}`];
  }
  const half = memory.replace(/^\d+/, (size) => String(Number(size) / 2));
  const node = (id: string) => ["-object", `${backends.memfd},id=${id},size=${half}`, "-numa", `node,memdev=${id}`];
  return ["-M", machine, ...node("memory0"), ...node("memory1")];
}

function nicArguments(nic: LiveOptions["nic"], echoPort: number): string[] {
  if (!nic) return ["-nic", "none"];
  if (nic === true)
    return [
      ...["-netdev", `user,id=nic,net=10.0.3.0/24,hostfwd=tcp:127.0.0.1:${echoPort}-10.0.3.15:7`],
      ...["-device", "virtio-net-pci,netdev=nic,romfile="],
    ];
  // In a slot of its own, so that it can be unplugged: q35's own bus has none such.
  return [
    ...["-device", "pcie-root-port,id=bay,chassis=1"],
    ...["-netdev", `tap,id=nic,ifname=${nic.tap},script=no,downscript=no`],
    ...["-device", `virtio-net-pci,id=card,bus=bay,netdev=nic,mac=${nic.mac},romfile=`],
  ];
}

function argumentsFor(recipe: Recipe, options: LiveOptions, boot: LiveBoot, directory: string, echoPort: number) {
  const path = (name: string) => join(directory, name);
  const commandLine = `console=ttyS0 panic=-1 ${recipe.commandLine} ${options.commandLine ?? ""}`.trim();
  return [
    ..."-nodefaults -display none -accel tcg,thread=multi".split(" "),
    ...["-smp", String(recipe.cpus), "-m", recipe.memory, "-cpu", recipe.cpu],
    ...memoryArguments(options.ram, recipe, directory),
    ...["-kernel", boot.kernel, "-initrd", boot.initramfs, "-append", commandLine],
    ...["-serial", `file:${path("console.log")}`, "-device", "virtio-serial-pci"],
    ...["truth", "agent"].flatMap((name, index) => [
      ...["-chardev", `socket,id=${name},path=${path(name)}`],
      ...["-device", `virtserialport,chardev=${name},nr=${index + 1}`],
    ]),
    ...["-qmp", `unix:${path("monitor")}`, "-qmp", `unix:${path("qmp")},server=on,wait=off`],
    ...(options.disk
      ? ["-blockdev", `driver=file,node-name=disk,filename=${path("disk")}`, "-device", "virtio-blk-pci,drive=disk"]
      : []),
    ...nicArguments(options.nic, echoPort),
    ...(options.qemu ?? []),
  ];
}

/** Rejects when QEMU ends, when the guest complains on its console, or when it is late. Never resolves. */
function failures(qemu: ChildProcess, console: string, stop: AbortSignal): Promise<never>[] {
  let errors = "";
  qemu.stderr?.on("data", (text: Buffer) => (errors += text));
  const rejected = (arm: (reject: (error: Error) => void) => void) => new Promise<never>((_, reject) => arm(reject));
  return [
    rejected((reject) => {
      qemu.on("error", () => reject(missingProgram("setpriv")));
      qemu.on("close", (code, signal) => reject(new Error(`QEMU ended with ${signal ?? code}: ${errors.trim()}`)));
    }),
    rejected((reject) => {
      const timer = setInterval(async () => {
        const error = await complaint(console);
        if (error) reject(error);
      }, 500);
      stop.addEventListener("abort", () => clearInterval(timer), { once: true });
    }),
  ];
}

/** Boots the recipe's kernel and workload and keeps them running. */
export function startLive(recipe: Recipe, options: LiveOptions): Promise<LiveGuest> {
  return inThreeTries(() => bootLive(recipe, options));
}

async function bootLive(recipe: Recipe, options: LiveOptions): Promise<LiveGuest> {
  options.signal.throwIfAborted();
  const directory = await mkdtemp(join(tmpdir(), "xfilter-live-"));
  const path = (name: string) => join(directory, name);
  let boot = await liveBoot(recipe, options.workload ?? "poses");
  if (options.disk) {
    writeFileSync(path("disk"), "");
    truncateSync(path("disk"), 64 << 20);
  }
  const echoPort = options.nic === true ? await freePort() : 0;
  const servers = ["truth", "agent", "monitor"].map((name) => ({ name, server: createServer() }));
  const connections = servers.map(({ name, server }) => firstConnection(server, path(name)));
  if (options.user !== undefined) {
    // The cache may be in a directory that is this user's alone.
    const copies = { kernel: path("kernel"), initramfs: path("initramfs") };
    await Promise.all([copyFile(boot.kernel, copies.kernel), copyFile(boot.initramfs, copies.initramfs)]);
    boot = copies;
    const all = [directory, ...Object.values(copies), ...servers.map(({ name }) => path(name))];
    for (const one of all) await chown(one, options.user, options.user);
  }
  // The guest ends with the thread that started it, however that ends.
  const qemuArguments = argumentsFor(recipe, options, boot, directory, echoPort);
  const user =
    options.user === undefined ? [] : [`--reuid=${options.user}`, `--regid=${options.user}`, "--clear-groups"];
  const qemu = spawn("setpriv", [...user, "--pdeathsig", "KILL", "qemu-system-x86_64", ...qemuArguments], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const stop = new AbortController();
  const fails = failures(qemu, path("console.log"), stop.signal);
  for (const promise of [...fails, ...connections]) promise.catch(() => {});
  const live = <T>(work: Promise<T>): Promise<T> => Promise.race([work, ...fails]);

  let closed: Promise<void> | undefined;
  const end = async () => {
    stop.abort();
    const gone = once(qemu, "close");
    if (qemu.exitCode === null && qemu.signalCode === null && qemu.kill("SIGKILL")) await gone;
    for (const { server } of servers) server.close();
    await rm(directory, { recursive: true, force: true });
  };
  const close = () => (closed ??= end());
  options.signal.addEventListener("abort", close, { once: true });

  try {
    const [truth, agentSocket, control] = (await live(Promise.all(connections))) as [Socket, Socket, Socket];
    const monitor = new QmpConnection(control);
    const agent = new LiveAgent(agentSocket, truth);
    await live(monitor.execute("qmp_capabilities"));
    await live(agent.ready(bootSeconds));
    return {
      qmp: path("qmp"),
      pid: qemu.pid!,
      qemu,
      memory: options.ram === "shared-file" ? path("memory.raw") : null,
      echo: options.nic === true ? { host: "127.0.0.1", port: echoPort } : null,
      monitor,
      command: (text) => live(agent.command(text)),
      truth: () => live(agent.truth()),
      reset: async () => {
        const booted = live(agent.ready(bootSeconds));
        booted.catch(() => {});
        await live(monitor.execute("system_reset"));
        return { booted };
      },
      close,
    };
  } catch (error) {
    await close();
    throw options.signal.aborted ? options.signal.reason : error;
  }
}
