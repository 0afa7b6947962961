import { join } from "node:path";
import { labAddresses } from "../lab-wire.ts";
import { compileLab } from "../live-boot.ts";
import type { XenLab } from "./live.ts";
import type { DomainRecipe } from "./recipes.ts";

const INET = ["prerouting", "input", "forward", "output", "postrouting"];
const hooked = (hook: string, where = "") => `chain ${hook} { type filter hook ${hook} ${where} priority 0; };`;

/**
 * A chain without rules at each hook, so that a filter's is never the first or the last there. Linux patches the code that leads
 * to a hook when it comes into use and when it goes out of it; now and then a CPU of QEMU's keeps the breakpoint that stands there
 * meanwhile as it had translated it, and a Dom0 whose packets go by takes that again and again, for ever.
 */
const STANDING = [
  `table netdev standing { ${["ingress", "egress"].map((hook) => hooked(hook, "device lo")).join(" ")} }`,
  ...["inet", "bridge"].map((family) => `table ${family} standing { ${INET.map((hook) => hooked(hook)).join(" ")} }`),
].join("\n");

/** Starts a domain whose users talk when they are told to, on a network device that is on a bridge and leads nowhere yet. One for each lab. */
export async function startUsersDomain(lab: XenLab, recipe: DomainRecipe): Promise<void> {
  await compileLab(join(lab.dom0.share, "lab"));
  await lab.dom0.run(`ip link add guests up type bridge && nft '${STANDING}'`, 60);
  const domain = await lab.start(recipe, { workload: "lab", vif: ["bridge=guests"] });
  await domain.command(`lab network ${labAddresses.guest.v4} ${labAddresses.guest.v6}`);
}
