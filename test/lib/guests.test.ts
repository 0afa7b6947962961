import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { expect, it } from "vitest";
import { introspect } from "../../lib/index.ts";
import { unpack } from "../../vmcore-fixtures/unpack.ts";

it("a guest of which much is asked at once delays no other", async () => {
  const { image } = await unpack();
  const [busy, other] = await Promise.all([introspect(image), introspect(image)]);
  const walks = 400;
  let done = 0;
  const all = Array.from({ length: walks }, () => busy.snapshot({ details: true }).then(() => done++));
  await other.snapshot();
  expect(done).toBeLessThan(walks / 2);
  await Promise.all(all);
  await Promise.all([busy.close(), other.close()]);
});

it("a guest that is asked for one thing after the other takes one thread", async () => {
  const { image } = await unpack();
  const program = `
    const { readdirSync } = await import("node:fs");
    const { introspect } = await import(${JSON.stringify(join(import.meta.dirname, "../../lib/index.ts"))});
    const guest = await introspect(${JSON.stringify(image)});
    const threads = () => readdirSync("/proc/self/task").length;
    const before = threads();
    for (let i = 0; i < 300; i++) await guest.snapshot();
    console.log(threads() - before);`;
  const output = execFileSync(process.execPath, ["--import", "tsx", "--input-type=module", "-e", program]);
  expect(Number(String(output))).toBe(0);
});
