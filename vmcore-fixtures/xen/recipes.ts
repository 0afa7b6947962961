/** A domain to start, freeze and dump. The kernel is whatever the suite holds today. */
export interface DomainRecipe {
  readonly name: string;
  /** What it varies, in one line. */
  readonly varies: string;
  readonly suite: string;
  readonly kernelPackage: string;
  /** Paravirtual, with page tables of machine frames; or in hardware's containment, with its own frames. */
  readonly type: "pv" | "pvh";
  readonly megabytes: number;
  readonly vcpus: number;
  readonly commandLine: string;
}

const base = { kernelPackage: "linux-image-cloud-amd64", megabytes: 256, vcpus: 2, commandLine: "" };

/** The one that is committed. Freed pages full of zeros, and the smaller of the kernels, make it small enough for git. */
export const committedDomain = "xen-pv-5.10-small";

export const domainRecipes: readonly DomainRecipe[] = [
  { ...base, name: "xen-pv-5.10", varies: "paravirtual, bullseye's kernel", suite: "bullseye", type: "pv" },
  { ...base, name: "xen-pv-6.1", varies: "paravirtual, bookworm's kernel", suite: "bookworm", type: "pv" },
  {
    ...base,
    name: committedDomain,
    varies: "128 MB",
    suite: "bullseye",
    type: "pv",
    megabytes: 128,
    vcpus: 1,
    commandLine: "init_on_free=1",
  },
  { ...base, name: "xen-pvh-6.1", varies: "PVH, bookworm's kernel", suite: "bookworm", type: "pvh", vcpus: 1 },
];

/**
 * What is built unless it is asked for otherwise. Of a PVH domain `xl dump-core` tries every frame number below 4 GiB, one
 * by one, which takes ten minutes under emulation.
 */
export const usualDomains = domainRecipes.filter(({ type }) => type !== "pvh");
