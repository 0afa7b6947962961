// `npm run test:kernels`, with `-- --all` or names: vitest knows no arguments of ours, they go through the environment.
import { spawnSync } from "node:child_process";
import { selectedNames } from "./selection.ts";

try {
  const selected = selectedNames(process.argv.slice(2), new Date());
  process.stderr.write(`Guests: ${selected.join(", ")}\n`);
  const { status } = spawnSync("npx", ["vitest", "run", "--config", "test/kernels/vitest.config.ts"], {
    stdio: "inherit",
    env: { ...process.env, XFILTER_KERNELS: selected.join(",") },
  });
  process.exitCode = status ?? 1;
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 2;
}
