import { XFilterError } from "../../errors.ts";
import type { Plan } from "../../rules/pattern.ts";
import type { BackendCapabilities, GuestScope } from "../backend.ts";
import { readUppers, requireInterfaces } from "../interface.ts";
import { escapeBytes } from "../names.ts";
import { refused } from "../program.ts";
import { checkCommands, listObjects } from "./nft.ts";
import { AT_DEVICES, type Frame, frameCommands, ON_THE_WAY, OUT_ONLY, type Part } from "./ruleset.ts";

/** What a guest needs of the host before anything is put in force for it. */
export async function refuseMissing({ interfaces }: GuestScope): Promise<void> {
  await requireInterfaces(interfaces);
  // nft prints names in quotes, and could not read back its own listing.
  const odd = interfaces.find(({ name }) => name.includes('"'));
  if (odd === undefined) return;
  const what = `nft cannot name the interface ${escapeBytes(odd.name, 40)}`;
  throw new XFilterError("BACKEND_UNSUPPORTED", what, "Give it another name");
}

/** Of patterns that there is no verdict for. */
export function refuseActions({ patterns }: Plan, { actions }: BackendCapabilities): void {
  const cannot = patterns.find(({ direction, action }) => !actions[direction].includes(action));
  if (cannot === undefined) return;
  const what = `This kernel cannot ${cannot.action} packets that ${cannot.direction === "in" ? "enter" : "leave"} the guest`;
  throw new XFilterError(
    "BACKEND_UNSUPPORTED",
    what,
    "Use another action, or a newer kernel: Linux 5.11 rejects what leaves",
  );
}

/** Where kernel and nft can catch the guest's packets, and whether they can answer them; and, if it is not all packets, why. */
export interface Reach {
  readonly parts: readonly Part[];
  readonly rejects: boolean;
  readonly blind: XFilterError | null;
}

/** Tries what there is, the best first. */
export async function reach(frame: Frame, signal: AbortSignal): Promise<Reach> {
  const refusals: XFilterError[] = [];
  for (const parts of [AT_DEVICES, ON_THE_WAY, OUT_ONLY]) {
    for (const rejects of [true, false]) {
      try {
        await checkCommands(frameCommands({ ...frame, parts, rejects }), signal);
      } catch (error) {
        if (!refused(error)) throw error;
        refusals.push(error as XFilterError);
        continue;
      }
      if (parts === AT_DEVICES) return { parts, rejects, blind: null };
      const blind = parts === OUT_ONLY ? noHook(refusals) : await passingBy(frame, signal);
      return { parts: blind === null ? parts : OUT_ONLY, rejects, blind };
    }
  }
  const what = `Kernel or nft lack what is needed here (chains at devices, maps with counters): ${refusals.at(-1)!.message}`;
  const advice = "Linux 6.18 with nftables 1.0.6 can do it: try a newer kernel, or a newer nftables";
  throw new XFilterError("BACKEND_UNSUPPORTED", what, advice, { cause: refusals.at(-1) });
}

function noHook([cause]: readonly XFilterError[]): XFilterError {
  const what =
    "This kernel has no hook for what enters the guest: neither netdev egress nor the families bridge and inet of nftables";
  const advice = "Use rules with the direction out, or Linux 5.16, or the kernel's modules for nftables";
  return new XFilterError("BACKEND_UNSUPPORTED", what, advice, { cause });
}

/** What enters the guest past bridges and routing, where there is no hook at its devices; null if nothing does. */
export async function passingBy({ interfaces }: Frame, signal: AbortSignal): Promise<XFilterError | null> {
  const objects = await listObjects(["list", "flowtables"], signal);
  const flowtables = (objects as { flowtable?: { name: string; dev?: string | string[] } }[]).flatMap(
    ({ flowtable }) => flowtable ?? [],
  );
  for (const { name } of interfaces) {
    const { bridge, others } = await readUppers(name);
    const [other] = others;
    if (other !== undefined) return unseen(`what ${escapeBytes(other, 40)} sends by the guest's device ${name}`);
    // It sends by a port that it names, and what is routed by any device.
    const fast = flowtables.find(({ dev = [] }) => bridge === null || [dev].flat().includes(name));
    if (fast !== undefined) return unseen(`what the flowtable ${escapeBytes(fast.name, 40)} forwards to ${name}`);
  }
  return null;
}

function unseen(what: string): XFilterError {
  const advice =
    "Use rules with the direction out, or Linux 5.16, or a device of the guest's that only a bridge or routing sends by";
  return new XFilterError("INTERFACE_UNSEEN", `This kernel has no hook that sees ${what} (netdev egress)`, advice);
}
