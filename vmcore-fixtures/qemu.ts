import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BootFailed, complaint, inThreeTries } from "./boot-tries.ts";
import { missingProgram } from "./command.ts";
import { QmpConnection } from "./qmp.ts";
import type { Recipe } from "./recipes.ts";

export interface Boot {
  recipe: Recipe;
  kernel: string;
  initramfs: string;
  /** Where memory.raw, memory.elf and console.log go: made anew. */
  directory: string;
  signal: AbortSignal;
}

export interface Frozen {
  transcript: Buffer;
  /** From the start of QEMU to the last byte of the transcript, and from there to the stop. */
  bootSeconds: number;
  freezeMilliseconds: number;
}

const deadlineSeconds = 600;

/** Resolves with the first connection: QEMU is the one that connects, so nothing has to be polled for. */
function firstConnection(server: Server, path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    server.on("connection", resolve).on("error", reject).listen(path);
  });
}

/** The guest's word, up to the line `end`. After a reset it speaks again. */
function transcriptOf(socket: Socket): Promise<Buffer> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    const end = Buffer.from("\nend\n");
    const receive = (bytes: Buffer) => {
      chunks.push(bytes);
      const tail = Buffer.concat(chunks.slice(-2));
      if (!tail.subarray(-end.length).equals(end)) return;
      socket.off("data", receive);
      resolve(Buffer.concat(chunks));
    };
    socket.on("data", receive);
  });
}

function argumentsFor({ recipe, kernel, initramfs, directory }: Boot, sockets: string): string[] {
  const commandLine = `console=ttyS0 panic=-1 ${recipe.commandLine}`.trim();
  return [
    ..."-nodefaults -display none -accel tcg,thread=multi -nic none".split(" "),
    ...(recipe.after === "power-on" ? ["-no-reboot"] : []),
    ...["-smp", String(recipe.cpus)],
    ...["-M", `${recipe.machine},memory-backend=memory`, "-cpu", recipe.cpu, "-m", recipe.memory],
    ...[
      "-object",
      `memory-backend-file,id=memory,size=${recipe.memory},mem-path=${join(directory, "memory.raw")},share=on`,
    ],
    ...["-kernel", kernel, "-initrd", initramfs, "-append", commandLine],
    ...["-serial", `file:${join(directory, "console.log")}`],
    ...["-chardev", `socket,id=truth,path=${join(sockets, "truth")}`],
    ...["-device", "virtio-serial-pci", "-device", "virtserialport,chardev=truth,nr=1"],
    ...["-qmp", `unix:${join(sockets, "qmp")}`],
    ...(recipe.vmcoreinfo ? ["-device", "vmcoreinfo"] : []),
  ];
}

/** Rejects when the guest complains on its console, and never resolves. */
function watchConsole(path: string, signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const timer = setInterval(async () => {
      const error = await complaint(path);
      if (error) reject(error);
    }, 500);
    signal.addEventListener("abort", () => clearInterval(timer), { once: true });
  });
}

/** Rejects when QEMU ends. By itself it does so when the guest resets: after a panic, as a rule. */
function ended(child: ChildProcess, console: string): Promise<never> {
  let errors = "";
  child.stderr?.on("data", (text: Buffer) => (errors += text));
  return new Promise((_, reject) => {
    child.on("error", () => reject(missingProgram("qemu-system-x86_64")));
    child.on("close", async (code, signal) => {
      const message = `QEMU ended with ${signal ?? code}: ${errors.trim()}`;
      reject((await complaint(console)) ?? (code === 0 ? new BootFailed(message) : new Error(message)));
    });
  });
}

/** Boots the guest, waits for its truth, stops it at the last byte, and dumps its memory. */
export function bootAndFreeze(boot: Boot): Promise<Frozen> {
  return inThreeTries(() => bootOnce(boot));
}

async function bootOnce(boot: Boot): Promise<Frozen> {
  boot.signal.throwIfAborted();
  await rm(boot.directory, { recursive: true, force: true });
  await mkdir(boot.directory);
  const sockets = await mkdtemp(join(tmpdir(), "xfilter-fixture-"));
  const servers = [createServer(), createServer()] as const;
  const done = new AbortController();
  const channel = firstConnection(servers[0], join(sockets, "truth"));
  const control = firstConnection(servers[1], join(sockets, "qmp")).then((socket) => new QmpConnection(socket));
  const started = performance.now();
  const child = spawn("qemu-system-x86_64", argumentsFor(boot, sockets), { stdio: ["ignore", "ignore", "pipe"] });
  const console = join(boot.directory, "console.log");
  const failures = [
    ended(child, console),
    watchConsole(console, done.signal),
    new Promise<never>((_, reject) => {
      const late = () => reject(new Error(`No truth from the guest after ${deadlineSeconds} s`));
      const timer = setTimeout(late, deadlineSeconds * 1000);
      done.signal.addEventListener("abort", () => clearTimeout(timer), { once: true });
      boot.signal.addEventListener("abort", () => reject(boot.signal.reason), { once: true });
    }),
  ];
  try {
    const freeze = async (): Promise<Frozen> => {
      const qmp = await control;
      await qmp.execute("qmp_capabilities");
      let transcript = await transcriptOf(await channel);
      if (boot.recipe.after === "reset") {
        const second = transcriptOf(await channel);
        await qmp.execute("system_reset");
        transcript = await second;
      }
      const told = performance.now();
      await qmp.execute("stop");
      const stopped = performance.now();
      if (boot.recipe.dumps.includes("elf"))
        await qmp.execute("dump-guest-memory", {
          paging: false,
          protocol: `file:${join(boot.directory, "memory.elf")}`,
        });
      return { transcript, bootSeconds: (told - started) / 1000, freezeMilliseconds: stopped - told };
    };
    return await Promise.race([freeze(), ...failures]);
  } finally {
    done.abort();
    const gone = new Promise((resolve) => child.once("close", resolve));
    if (child.exitCode === null && child.signalCode === null && child.kill("SIGKILL")) await gone;
    for (const server of servers) server.close();
    for (const failure of failures) failure.catch(() => {});
    channel.catch(() => {});
    await rm(sockets, { recursive: true, force: true });
  }
}
