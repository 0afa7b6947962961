import { toXFilterError, XFilterError } from "../errors.ts";
import type { Guest } from "../guest.ts";
import type { GuestInterface } from "../guest-interface.ts";
import type { GivenInterfaces } from "./options.ts";

/** @internal The guest's devices at the start. Rejects as `guest.interfaces()` does. */
export async function findDevices(guest: Guest, given: GivenInterfaces | null): Promise<readonly GuestInterface[]> {
  if (given === null) return guest.interfaces();
  return areNames(given) ? guest.interfaces({ names: given }) : given;
}

/**
 * @internal
 * The guest's devices by now, and what is wrong with one of them. `before`: those that were known last, of which none is left out
 * because nothing can be found out. Rejects as `guest.interfaces()` does.
 */
export async function findDevicesAgain(
  guest: Guest,
  given: GivenInterfaces | null,
  before: readonly GuestInterface[],
): Promise<{ devices: readonly GuestInterface[]; problem: XFilterError | null }> {
  if (given === null) return { devices: await guest.interfaces(), problem: null };
  if (!areNames(given)) return { devices: given, problem: null };
  // Each for itself: one that is gone takes the others out of nothing.
  const found = await Promise.allSettled(given.map((name) => findNamed(guest, name, before)));
  const devices = found.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
  const wrong = found.find((one) => one.status === "rejected");
  return { devices: devices.length > 0 ? devices : before, problem: wrong ? toXFilterError(wrong.reason) : null };
}

/** A name tells nothing of whose the device is that has it now: nor does an address, which for some is the same for all guests. */
async function findNamed(guest: Guest, name: string, before: readonly GuestInterface[]): Promise<GuestInterface> {
  const [device] = await guest.interfaces({ names: [name] });
  if (device!.open || before.some((known) => isSame(known, device!))) return device!;
  throw new XFilterError(
    "INTERFACE_CHANGED",
    `the interface ${name} is another device than when this started, and the guest's QEMU does not have it open`,
    "If it is this guest's, start the filter again; nothing is in force for it",
  );
}

/** @internal */
export function areSame(devices: readonly GuestInterface[], others: readonly GuestInterface[]): boolean {
  return devices.length === others.length && devices.every((device) => others.some((other) => isSame(device, other)));
}

function isSame(a: GuestInterface, b: GuestInterface): boolean {
  return a.name === b.name && a.index === b.index && a.mac === b.mac;
}

function areNames(given: GivenInterfaces): given is readonly string[] {
  return given.length > 0 && typeof given[0] === "string";
}
