import { introspect } from "xfilter-core";
import { leftOf, listed, within, xl } from "./domain.ts";
import { program } from "./program.ts";

// A domain that is destroyed while one guest of it walks, another one does nothing, and a third was closed before. This process lives
// on: what one of them has not let go of keeps the domain in the list.
await program(async (name: string) => {
  const attach = () => introspect(`xen:${name}`, { walkBudgetMs: 60_000 });
  const [walking, idle, closed] = [await attach(), await attach(), await attach()];
  await idle.snapshot();
  await closed.snapshot();
  await closed.close();
  const { id } = await listed(name);
  let walks = 0;
  const walk = async () => {
    for (;;) {
      await walking.snapshot();
      walks += 1;
    }
  };
  const ended = walk().catch(({ code }) => code);
  if (!(await within(60, async () => walks > 2))) throw new Error("It was not walked over");
  await xl("destroy", name);
  const code = await ended;
  const left = await leftOf(id);
  const codes = [code, await idle.snapshot().catch(({ code }) => code)];
  await Promise.all([walking.close(), idle.close()]);
  return { codes, left };
});
