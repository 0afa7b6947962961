// A running guest to try xfilter on: a small Linux 6.1 in an unmodified QEMU, with somebody who connects to it and leaves,
// until Ctrl-C. As the fixtures do, it takes the kernel from Debian's mirror: vmcore-fixtures/README.md.
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { startLive } from "../vmcore-fixtures/live.ts";
import { recipes } from "../vmcore-fixtures/recipes.ts";

const stop = new AbortController();
const { signal } = stop;
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(name, () => stop.abort());

try {
  console.log("Booting a guest in QEMU: half a minute, and some more the first time …");
  const recipe = recipes.find(({ name }) => name === "linux-6.1-small")!;
  const guest = await startLive(recipe, { ram: "memfd", nic: true, signal });
  console.log(`
It runs until Ctrl-C. In another terminal, in the checkout, by its monitor, which serves one client at a time:

    npx xfilter info qemu:${guest.qmp}
    npx xfilter ss --pause qemu:${guest.qmp}

or by its process:

    npx xfilter ps qemu:pid:${guest.pid}
    npx xfilter watch qemu:pid:${guest.pid}
    npx xfilter top qemu:pid:${guest.pid}
`);
  while (!signal.aborted) {
    const client = connect(guest.echo!).on("error", () => {});
    await sleep(3_000, undefined, { signal }).finally(() => client.destroy());
    await sleep(2_000, undefined, { signal });
  }
} catch (error) {
  if (!signal.aborted) throw error;
}
