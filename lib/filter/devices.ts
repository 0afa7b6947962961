import { toXFilterError, XFilterError } from "../errors.ts";
import type { Guest } from "../guest.ts";
import type { GuestInterface } from "../guest-interface.ts";
import type { GivenInterfaces } from "./options.ts";

/** @internal The guest's devices at the start. Rejects as `guest.interfaces()` does. */
export async function findDevices(guest: Guest, given: GivenInterfaces | null): Promise<readonly GuestInterface[]> {
  if (given === null) return guest.interfaces();
  return areNames(given) ? guest.interfaces({ names: given }) : given;
}

/** Of a device that is not, or no longer, the guest's. Whatever else goes wrong tells nothing of that. */
const NOT_THE_GUESTS: readonly string[] = ["INTERFACE_NOT_FOUND", "INTERFACE_CHANGED", "INTERFACE_FOREIGN"];

/** @internal Devices of a guest as they were found. */
export interface KnownDevices {
  /** Those that were found last. */
  readonly last: readonly GuestInterface[];
  /** Those that ever were, which may come back. */
  readonly ever: readonly GuestInterface[];
}

/** The guest's devices by now, and what is wrong with one of them. */
interface FoundDevices {
  readonly devices: readonly GuestInterface[];
  readonly problem: XFilterError | null;
}

/**
 * @internal
 * None of the last ones is left out because nothing can be found out. Where all are gone, they are the last ones: nothing is at
 * them. None at all: those that are there are not the guest's any more.
 */
export async function findDevicesAgain(
  guest: Guest,
  given: GivenInterfaces | null,
  known: KnownDevices,
): Promise<FoundDevices> {
  if (given === null) return findOpen(guest, known);
  return areNames(given) ? findAllNamed(guest, given, known) : { devices: given, problem: null };
}

async function findOpen(guest: Guest, { last }: KnownDevices): Promise<FoundDevices> {
  try {
    return { devices: await guest.interfaces(), problem: null };
  } catch (error) {
    // One that its QEMU has given up is anybody's.
    const names = last.map(({ name }) => name);
    const { devices } = await findAllNamed(guest, names, { last, ever: [] });
    return { devices, problem: toXFilterError(error) };
  }
}

async function findAllNamed(guest: Guest, names: readonly string[], known: KnownDevices): Promise<FoundDevices> {
  // Each for itself: one that is gone takes the others out of nothing.
  const found = await Promise.all(names.map((name) => findNamed(guest, name, known)));
  const devices = found.flatMap(({ device }) => device ?? []);
  const problems = found.flatMap(({ problem }) => problem ?? []);
  const areOthers = problems.some(({ code }) => code === "INTERFACE_CHANGED" || code === "INTERFACE_FOREIGN");
  return { devices: devices.length > 0 || areOthers ? devices : known.last, problem: problems[0] ?? null };
}

interface NamedDevice {
  readonly device: GuestInterface | null;
  readonly problem: XFilterError | null;
}

async function findNamed(guest: Guest, name: string, { last, ever }: KnownDevices): Promise<NamedDevice> {
  try {
    return { device: await requireNamed(guest, name, ever), problem: null };
  } catch (error) {
    const problem = toXFilterError(error);
    const isOver = NOT_THE_GUESTS.includes(problem.code);
    return { device: isOver ? null : (last.find((device) => device.name === name) ?? null), problem };
  }
}

/** A name tells nothing of whose the device is that has it now: nor does an address, which for some is the same for all guests. */
async function requireNamed(guest: Guest, name: string, ever: readonly GuestInterface[]): Promise<GuestInterface> {
  const [device] = await guest.interfaces({ names: [name] });
  if (device!.open || includesDevice(ever, device!)) return device!;
  throw new XFilterError(
    "INTERFACE_CHANGED",
    `the interface ${name} is another device than when this started, and is not known to be the guest's`,
    "If it is this guest's, start the filter again; nothing is in force for it",
  );
}

/** @internal */
export function areSame(devices: readonly GuestInterface[], others: readonly GuestInterface[]): boolean {
  return devices.length === others.length && devices.every((device) => includesDevice(others, device));
}

/** @internal */
export function includesDevice(devices: readonly GuestInterface[], { name, index, mac }: GuestInterface): boolean {
  return devices.some((device) => device.name === name && device.index === index && device.mac === mac);
}

function areNames(given: GivenInterfaces): given is readonly string[] {
  return given.length > 0 && typeof given[0] === "string";
}
