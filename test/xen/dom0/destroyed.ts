import { introspect } from "xfilter-core";
import { list, listed, within, xl } from "./domain.ts";
import { program } from "./program.ts";

// A domain that is destroyed while one guest of it walks and another one does nothing.
await program(async (name: string) => {
  const attach = () => introspect(`xen:${name}`, { walkBudgetMs: 60_000 });
  const [walking, idle] = [await attach(), await attach()];
  await idle.snapshot();
  const { id } = await listed(name);
  const isLeft = async () => (await list()).some((domain) => domain.id === id);
  let walks = 0;
  const walk = async () => {
    for (;;) {
      await walking.snapshot();
      walks += 1;
    }
  };
  const ended = walk().catch(({ code }) => code);
  await within(60, async () => walks > 2);
  await xl("destroy", name);
  const code = await ended;
  const letGo = await within(20, async () => !(await isLeft()));
  const codes = [code, await idle.snapshot().catch(({ code }) => code)];
  await Promise.all([walking.close(), idle.close()]);
  const goneAfterClose = await within(20, async () => !(await isLeft()));
  return { codes, letGo, goneAfterClose };
});
