import { defineConfig } from "tsup";

export default defineConfig([
  {
    entry: { index: "lib/index.ts" },
    format: ["esm", "cjs"],
    // TypeScript 6 warns of an option that tsup 8 sets itself.
    dts: { compilerOptions: { ignoreDeprecations: "6.0" } },
    target: "node20",
    external: ["#native"],
    sourcemap: true,
    clean: true,
  },
  {
    // main.ts loads program.ts when it runs.
    entry: { "cli/main": "lib/cli/main.ts", "cli/program": "lib/cli/program.ts" },
    format: ["esm"],
    target: "node20",
    external: ["#native"],
    sourcemap: true,
  },
]);
