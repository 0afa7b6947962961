import { chmodSync, mkdtempSync, readlinkSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, vi } from "vitest";
import { MetricsFile } from "../../lib/cli/metrics-file.ts";

const directory = mkdtempSync(join(tmpdir(), "xfilter-metrics-link-"));
const [metrics, secret] = [join(directory, "vm1.prom"), join(directory, "secret")];

// The directory's owner is quick: as soon as the text is written, a link to somebody else's file is in its place.
vi.mock("node:fs", async (original) => {
  const fs = await original<typeof import("node:fs")>();
  const swapped: typeof fs.writeFileSync = (...words) => {
    fs.writeFileSync(...words);
    if (words[0] === secret) return;
    fs.rmSync(`${metrics}.new`);
    fs.symlinkSync(secret, `${metrics}.new`);
  };
  return { ...fs, writeFileSync: swapped };
});

it("a link that comes into the place of the new metrics opens nobody's file", async () => {
  writeFileSync(secret, "");
  chmodSync(secret, 0o600);
  const file = await MetricsFile.create(metrics, () => {});
  expect(readlinkSync(metrics)).toBe(secret);
  expect(statSync(secret).mode & 0o777).toBe(0o600);
  await file.end();
  rmSync(directory, { recursive: true });
});
