import { join } from "node:path";
import { labAddresses } from "../lab-wire.ts";
import { compileLab } from "../live-boot.ts";
import type { XenLab } from "./live.ts";
import type { DomainRecipe } from "./recipes.ts";

/** Starts a domain whose users talk when they are told to, on a network device that is on a bridge and leads nowhere yet. One for each lab. */
export async function startUsersDomain(lab: XenLab, recipe: DomainRecipe): Promise<void> {
  await compileLab(join(lab.dom0.share, "lab"));
  await lab.dom0.run("ip link add guests up type bridge", 60);
  const domain = await lab.start(recipe, { workload: "lab", vif: ["bridge=guests"] });
  await domain.command(`lab network ${labAddresses.guest.v4} ${labAddresses.guest.v6}`);
}
