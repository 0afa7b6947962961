import { XFilterError } from "../errors.ts";
import { isNetworkCard } from "./descriptors.ts";
import { type HostLink, hostLinks } from "./host-links.ts";
import { type HostInterface, NAME_THEM, toInterface, unseenError } from "./interfaces.ts";
import type { Holdings } from "./named-interfaces.ts";
import type { Xenstore } from "./xenstore.ts";

/** A network device of a domain. */
interface Vif {
  readonly domain: number;
  readonly device: number;
  /** Where it is not this domain that has the other end: who has. */
  readonly elsewhere: string | null;
  /** What the other end may be called; one that Xen's scripts were to rename keeps its first name where the other is taken. */
  readonly names: readonly string[];
  readonly mac: string | null;
}

/**
 * @internal
 * The devices of a domain, by what the toolstack wrote of them where no guest can write. Rejects with INTERFACE_NOT_FOUND, INTERFACE_UNSEEN,
 * TOOL_NOT_FOUND, and as `Xenstore` does.
 */
export async function domainInterfaces(domain: number, store: Xenstore): Promise<HostInterface[]> {
  await requireSeen(domain, store);
  const [vifs, links] = await Promise.all([vifsOf(domain, store), hostLinks()]);
  if (vifs.length === 0) {
    throw new XFilterError("INTERFACE_NOT_FOUND", `domain ${domain} has no network device`, NAME_THEM);
  }
  return vifs.flatMap((vif) => {
    if (vif.elsewhere !== null) throw servedElsewhere(vif);
    const found = linksOf(vif, links);
    if (found.length > 0) return found.map((link) => toInterface(link, true, vif.mac));
    const what = `the device ${JSON.stringify(vif.names.at(-1))} of domain ${vif.domain} is not in this network namespace`;
    throw new XFilterError("INTERFACE_NOT_FOUND", what, `Run this in the device's own; else: ${NAME_THEM}`);
  });
}

/** @internal Rejects as `domainInterfaces` does, but for INTERFACE_NOT_FOUND. */
export async function domainHoldings(domain: number, store: Xenstore): Promise<Holdings> {
  const vifs = await vifsOf(domain, store);
  return {
    has: (link, links) => vifs.some((vif) => vif.elsewhere === null && linksOf(vif, links).includes(link)),
    another: async ({ bus, device, name }) => {
      const [, told] = /^vif-(\d+)-\d+$/.exec((bus === BACKENDS && device) || "") ?? [];
      const [, named] = /^vif(\d+)\.\d+(?:-emu)?$/.exec(name) ?? [];
      const owner = told ?? named;
      return owner === undefined || Number(owner) === domain ? null : `is another guest's: domain ${owner}'s`;
    },
  };
}

const BACKENDS = "xen-backend";

/** The other end, and the tap of the emulated card that an HVM domain boots with, which is the same card for its guest. */
function linksOf({ domain, device, names }: Vif, links: ReadonlyMap<string, HostLink>): HostLink[] {
  const told = [...links.values()].find((link) => link.bus === BACKENDS && link.device === `vif-${domain}-${device}`);
  const named = (suffix: string, fits: (link: HostLink) => boolean) =>
    names.flatMap((name) => links.get(name + suffix) ?? []).find(fits);
  // Kernels before 5.14 do not tell.
  const backend = told ?? named("", (link) => link.device === null && link.kind === null);
  const emulated = named("-emu", ({ kind }) => kind === "tun");
  return [backend, emulated].filter((link) => link !== undefined);
}

/**
 * libxl keeps what it made below /libxl, where only it can write; what other toolstacks made is found in this domain's own half of the
 * device, which is this domain's. A guest's half, /local/domain/ID/device, is the guest's to write.
 */
async function vifsOf(domain: number, store: Xenstore): Promise<Vif[]> {
  const byLibxl = (await store.list(`/libxl/${domain}`)) !== null;
  const path = byLibxl ? `/libxl/${domain}/device/vif` : `/local/domain/0/backend/vif/${domain}`;
  const devices = await store.numbers(path);
  const vifs = await Promise.all(
    devices.map(async (device) => {
      const backend = `/local/domain/0/backend/vif/${domain}/${device}`;
      const served = byLibxl ? await store.read(`${path}/${device}/backend`) : backend;
      const [name, mac] = await Promise.all(["vifname", "mac"].map((key) => store.read(`${backend}/${key}`)));
      const elsewhere = served === backend ? null : ownerOf(served);
      const names = [`vif${domain}.${device}`, ...(name ? [name] : [])];
      return { domain, device, elsewhere, names, mac: mac ?? null };
    }),
  );
  // The emulated cards of an HVM domain whose QEMU has a domain of its own are that one's.
  const stub = Number(await store.read(`/local/domain/${domain}/image/device-model-domid`));
  return Number.isInteger(stub) && stub > 0 && stub !== domain ? [...vifs, ...(await vifsOf(stub, store))] : vifs;
}

function ownerOf(backend: string | null): string {
  const [, owner] = /^\/local\/domain\/([1-9]\d*)\//.exec(backend ?? "") ?? [];
  return owner === undefined ? "what is not known" : `domain ${owner}`;
}

function servedElsewhere({ domain, device, elsewhere }: Vif): XFilterError {
  return unseenError(
    `network device ${device} of domain ${domain} is served by ${elsewhere}, not by this one: its packets do not come by here`,
    "Filter it where they do; to filter its other devices only, name those (--interface)",
  );
}

/** What a domain's packets go by past all of its network devices. */
async function requireSeen(domain: number, store: Xenstore): Promise<void> {
  if ((await store.numbers(`/libxl/${domain}/device/pvcalls`)).length > 0) {
    throw unseenError(`domain ${domain} has this one make its connections (pvcalls)`, NAME_THEM);
  }
  for (const bus of await store.numbers(`/local/domain/0/backend/pci/${domain}`)) {
    const path = `/local/domain/0/backend/pci/${domain}/${bus}`;
    const keys = ((await store.list(path)) ?? []).filter((key) => /^dev-\d+$/.test(key));
    for (const address of await Promise.all(keys.map((key) => store.read(`${path}/${key}`)))) {
      const isAddress = address !== null && /^[0-9a-f]{4}(?::[0-9a-f]{2}){2}\.[0-7]$/.test(address);
      if (!isAddress || !(await isNetworkCard(`/sys/bus/pci/devices/${address}`))) continue;
      throw unseenError(
        `domain ${domain} has a card of its own (${address}), whose packets the host's netfilter never sees`,
        "Give it a vif instead; to filter its other devices only, name those (--interface)",
      );
    }
  }
}
