import { XFilterError } from "../../errors.ts";
import type { Direction } from "../../rules/rule.ts";
import type { GuestScope } from "../backend.ts";
import { changedInterfaces, readDevice } from "../interface.ts";
import { escapeBytes } from "./names.ts";
import { checkCommands, refused } from "./nft.ts";
import { type Frame, frameCommands } from "./ruleset.ts";

/** What a guest needs of the host before anything is put in force for it. */
export async function refuseMissing({ interfaces }: GuestScope): Promise<void> {
  const advice = "Name the guest's device on this host, a tap or vif (--interface)";
  if (interfaces.length === 0) throw new XFilterError("INTERFACE_NOT_FOUND", "No interface was given", advice);
  for (const { name } of interfaces) {
    const said = escapeBytes(name, 40);
    if ((await readDevice(name)) === null) {
      throw new XFilterError("INTERFACE_NOT_FOUND", `There is no interface ${said}`, advice);
    }
    // nft prints names in quotes, and could not read back its own listing.
    if (name.includes('"')) {
      throw new XFilterError("BACKEND_UNSUPPORTED", `nft cannot name the interface ${said}`, "Give it another name");
    }
  }
}

export async function refuseChanged({ interfaces }: Frame): Promise<void> {
  const [line] = await changedInterfaces(interfaces);
  if (line === undefined) return;
  const advice =
    "Find the guest's interfaces again and open the backend with them; nothing is in force for another device";
  throw new XFilterError("INTERFACE_CHANGED", line, advice);
}

/** The directions that kernel and nft can catch. */
export async function supportedDirections(frame: Frame, signal: AbortSignal): Promise<readonly Direction[]> {
  try {
    await checkCommands(frameCommands({ ...frame, directions: ["out", "in"] }), signal);
    return ["out", "in"];
  } catch (error) {
    if (!refused(error)) throw error;
  }
  try {
    await checkCommands(frameCommands({ ...frame, directions: ["out"] }), signal);
    return ["out"];
  } catch (cause) {
    if (!refused(cause)) throw cause;
    const what = `Kernel or nft lack what is needed here (chains at devices, maps with counters): ${(cause as Error).message}`;
    throw new XFilterError(
      "BACKEND_UNSUPPORTED",
      what,
      "Linux 6.18 with nftables 1.0.6 can do it: try a newer kernel, or a newer nftables",
      {
        cause,
      },
    );
  }
}

export function noEgress(): XFilterError {
  const what = "This kernel has no hook for what enters the guest (netdev egress)";
  return new XFilterError("BACKEND_UNSUPPORTED", what, "Use rules with the direction out, or Linux 5.16");
}
