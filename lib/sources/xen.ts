import { XFilterError } from "../errors.ts";
import { runJob } from "../job.ts";
import type { Native, NativeDomain, NativeDomainId } from "../native.ts";
import type { AbortSignalLike } from "../options.ts";
import { sleep } from "../sleep.ts";
import type { LiveSource } from "./live-source.ts";
import { namedInterfaces } from "./named-interfaces.ts";
import type { XenSource } from "./target.ts";
import { domainHoldings, domainInterfaces } from "./xen-interfaces.ts";
import { Xenstore } from "./xenstore.ts";

/** @internal What of the addon a domain is looked at by. */
export type XenAddon = Pick<Native, "xenDomain" | "xenstoreRead" | "xenstoreList">;

/** After these a toolstack may start the guest anew, in another domain: xl does after a reboot, and after others if it was told to. */
const RESTARTED: readonly NativeDomain["shutdown"][] = ["reboot", "crash", "watchdog", "other"];
/** How long the next domain is waited for when the last one is gone, which xl takes away first. */
const RESTART_MS = 10_000;
/** And while the last one is there yet, which a toolstack may also keep for somebody to look at. */
const REMOVAL_MS = 30_000;
const RESTART_POLL_MS = 100;

/** @internal A domain of Xen that runs. By its name it is followed into the domain that it has after a reboot or a restore. */
export function xenSource({ domain }: XenSource, addon: XenAddon, keepMappings = true): LiveSource {
  const store = new Xenstore(addon);
  const lookUp = (id: number, signal?: AbortSignalLike) => runJob(() => addon.xenDomain(id), signal);
  const moves = typeof domain === "string";
  let located: NativeDomain | undefined;

  /** What has become of the one that was located; null: it is gone, and whoever has its id is another. */
  const now = async ({ id, uuid }: NativeDomainId) => {
    const found = await lookUp(id);
    return found?.uuid === uuid ? found : null;
  };

  const find = async (signal?: AbortSignalLike): Promise<NativeDomain> => {
    const ids = typeof domain === "string" ? await idsOf(domain, store, signal) : [domain];
    const all = await Promise.all(ids.map((id) => lookUp(id, signal)));
    const found = all.filter((one) => one !== null);
    const [first, ...others] = found.filter((one) => !hasEnded(one));
    if (others.length > 0) throw ambiguous(domain, found);
    if (first) return first;
    throw found[0] ? gone(domain, found[0]) : notFound(domain);
  };

  /** Of a guest that was here already: the next one of its name is waited for. */
  const findAgain = async (last: NativeDomain, signal?: AbortSignalLike): Promise<NativeDomain> => {
    const start = performance.now();
    for (let removed = Infinity; ; await sleep(RESTART_POLL_MS, signal ? [signal] : [])) {
      const left = await now(last);
      // It may have another kernel by now, and another name.
      if (left && !hasEnded(left)) return left;
      const next = moves ? await find(signal).catch(nullIfGone) : null;
      if (next) return next;
      if (left === null) removed = Math.min(removed, performance.now());
      const isOver = performance.now() >= Math.min(start + REMOVAL_MS, removed + RESTART_MS);
      if (!moves || isOver) throw gone(domain, left);
    }
  };

  return {
    moves,
    async locate(signal) {
      located = located ? await findAgain(located, signal) : await find(signal);
      const { id, uuid } = located;
      return { domain: { id, uuid, keepMappings } };
    },
    async changed() {
      if (!located) return false;
      const found = await now(located);
      if (found && !hasEnded(found)) return false;
      const mayRestart = found === null || RESTARTED.includes(found.shutdown);
      if (moves && (mayRestart || (await find().catch(nullIfGone)))) return true;
      throw gone(domain, found);
    },
    async interfaces(names) {
      const asked = located;
      const requireThere = async () => {
        const found = asked ? await now(asked) : null;
        if (!found || hasEnded(found)) throw moves ? without(domain, found) : gone(domain, found);
        return found.id;
      };
      const id = await requireThere();
      try {
        return await (names ? namedInterfaces(names, await domainHoldings(id, store)) : domainInterfaces(id, store));
      } finally {
        // Of one that ended meanwhile its devices go one by one, and its id may be another's: what was found is not to be taken for its.
        await requireThere();
      }
    },
    pausable() {
      const { id, uuid } = located!;
      return { domain: { id, uuid } };
    },
    close: () => {},
  };
}

/** The ids of the domains that xenstore has under a name, which a guest cannot write. */
async function idsOf(name: string, store: Xenstore, signal?: AbortSignalLike): Promise<number[]> {
  const ids = await store.numbers("/local/domain", signal);
  const names = await Promise.all(ids.map((id) => store.read(`/local/domain/${id}/name`, signal)));
  const found = ids.filter((_, i) => names[i] === name);
  if (found.includes(0)) {
    const what = `${JSON.stringify(name)} is domain 0, in which this runs`;
    throw new XFilterError("SOURCE_NOT_FOUND", what, WHICH);
  }
  return found;
}

/** One that is being saved or migrated away has shut down, too, and its memory stays until it is gone. */
function hasEnded({ dying, shutdown }: NativeDomain): boolean {
  return dying || (shutdown !== null && shutdown !== "suspend");
}

const WHICH = "`xl list` shows which domains there are: give the name or the id of one (xen:NAME, xen:ID)";

function notFound(domain: string | number): XFilterError {
  const which = typeof domain === "number" ? domain : `of the name ${JSON.stringify(domain)}`;
  return new XFilterError("SOURCE_NOT_FOUND", `there is no domain ${which}`, WHICH);
}

function ambiguous(domain: string | number, found: readonly NativeDomain[]): XFilterError {
  const ids = found.map(({ id }) => id).join(", ");
  const what = `more than one domain has the name ${JSON.stringify(domain)}: ${ids}`;
  return new XFilterError("SOURCE_NOT_FOUND", what, "Give the id of the one that is meant (xen:ID)");
}

function whatBecame(domain: string | number, last: NativeDomain | null): string {
  const why = last === null ? "is gone" : last.shutdown ? `has shut down (${last.shutdown})` : "was destroyed";
  return `the domain ${JSON.stringify(domain)} ${why}`;
}

/** Of a guest that may be on its way into its next domain. */
function without(domain: string | number, last: NativeDomain | null): XFilterError {
  const what = `${whatBecame(domain, last)}, and its devices with it`;
  return new XFilterError("INTERFACE_NOT_FOUND", what, "It has others when it is started anew");
}

function gone(domain: string | number, last: NativeDomain | null): XFilterError {
  const advice = "When it runs again, attach again: a domain that is started anew has another id";
  return new XFilterError("SOURCE_GONE", whatBecame(domain, last), advice);
}

function nullIfGone(error: unknown): null {
  if (error instanceof XFilterError && (error.code === "SOURCE_NOT_FOUND" || error.code === "SOURCE_GONE")) return null;
  throw error;
}
