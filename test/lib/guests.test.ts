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
