import type { Command } from "commander";
import { hex } from "../address.ts";
import { escapeText } from "../escape.ts";
import type { Guest, Kernel, XFilterError } from "../index.ts";
import { type Context, guestCommand } from "./command.ts";
import type { Output } from "./output.ts";
import type { Column } from "./table.ts";

const FORMATS = {
  elf: "an ELF core",
  xen: "a domain of Xen",
  lime: "a LiME dump",
  raw: "a raw image",
  qemu: "a running QEMU",
};
const FROM = { guest: "the guest's own memory", file: "a file that was given" };

const STEP_COLUMNS: readonly Column[] = [
  { title: "STEP" },
  { title: "FOUND", flexible: true },
  { title: "HOW", flexible: true },
  { title: "TIME", align: "right" },
];
const CPU_COLUMNS: readonly Column[] = [
  { title: "CPU", align: "right" },
  { title: "MODE" },
  { title: "PID", align: "right" },
  { title: "TID", align: "right" },
  { title: "COMMAND", flexible: true },
  { title: "RIP" },
];
const MISSING_COLUMNS: readonly Column[] = [{ title: "MISSING MEMBER" }, { title: "WHAT IT COSTS", flexible: true }];

export function infoCommand(context: Context): Command {
  const summary = "tell what was found out about the guest's kernel, and how";
  return guestCommand("info", summary, context, async ({ guest, output, json, signal }) => {
    const { kernel } = guest;
    if (json) return output.json([kernel]);
    await output.lines(facts(kernel, output));
    const steps = kernel.steps.map(({ name, found, how, elapsedNs }) =>
      [name, found, how].map(escapeText).concat(formatElapsed(elapsedNs)),
    );
    await output.table(STEP_COLUMNS, steps);
    await printCpus(guest, output, signal);
    if (kernel.missing.length > 0) await printMissing(kernel, output);
  });
}

function facts(kernel: Kernel, { colors }: Output): string[] {
  const { release, architecture, pagingLevels, banner, memoryBytes, format, buildId, kaslrOffset, physBase } = kernel;
  const attachNs = kernel.steps.reduce((sum, { elapsedNs }) => sum + elapsedNs, 0);
  const named: [string, string][] = [
    ["kernel", `${escapeText(release)}, ${architecture}, ${pagingLevels}-level paging`],
    ["banner", escapeText(banner.trim())],
    ["build id", buildId ?? "not told by the image"],
    ["memory", `${formatBytes(memoryBytes)} in ${FORMATS[format]}`],
    ["placed at", `KASLR offset ${hex(kaslrOffset)}, physical base ${hex(physBase)}`],
    ["symbols from", FROM[kernel.symbolsFrom]],
    ["types from", FROM[kernel.typesFrom]],
    ["found in", formatElapsed(attachNs)],
  ];
  return [...named.map(([name, value]) => `${colors.bold(name.padEnd(14))}${value}`), ""];
}

/** One line each, for images that tell them. */
async function printCpus(guest: Guest, output: Output, signal: AbortSignal): Promise<void> {
  const cpus = await guest.cpus({ signal }).catch((error: XFilterError) => {
    if (error.code === "REGISTERS_NOT_FOUND") return [];
    throw error;
  });
  if (cpus.length === 0) return;
  await output.lines([""]);
  const rows = cpus.map(({ index, mode, rip, task }) => [
    String(index),
    mode,
    ...(task ? [String(task.pid), String(task.tid), escapeText(task.comm)] : ["-", "-", "-"]),
    hex(rip),
  ]);
  await output.table(CPU_COLUMNS, rows);
}

async function printMissing({ missing, typesFrom }: Kernel, output: Output): Promise<void> {
  await output.lines([""]);
  const rows = missing.map(({ member, costs }) => [member, costs].map(escapeText));
  await output.table(MISSING_COLUMNS, rows);
  const advice =
    typesFrom === "guest"
      ? "These are the kernel's own types: what they lack, it was built without or has in a module."
      : "If the guest's kernel has them, the file is not of exactly this kernel: give one that is.";
  await output.lines(["", advice]);
}

/** "96 MiB", rounded down. */
function formatBytes(bytes: bigint): string {
  const mebibyte = 1024n * 1024n;
  return bytes >= mebibyte ? `${bytes / mebibyte} MiB` : `${bytes} bytes`;
}

/** "0.012 ms" */
function formatElapsed(nanoseconds: number): string {
  const milliseconds = nanoseconds / 1e6;
  return `${milliseconds.toFixed(milliseconds < 1 ? 3 : 1)} ms`;
}
