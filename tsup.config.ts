import { defineConfig } from "tsup";

export default defineConfig([
  {
    entry: {
      ...{ index: "lib/index.ts", rules: "lib/rules/index.ts", backends: "lib/backends/index.ts" },
      ...{ filter: "lib/filter/index.ts", metrics: "lib/metrics/index.ts", testing: "lib/testing/index.ts" },
    },
    format: ["esm", "cjs"],
    // TypeScript 6 warns of an option that tsup 8 sets itself.
    dts: { compilerOptions: { ignoreDeprecations: "6.0" } },
    target: "node20",
    external: ["#native"],
    // import.meta.url, by which the guard is found.
    shims: true,
    sourcemap: true,
    clean: true,
  },
  {
    // A process of its own, which `#guard` in package.json names.
    entry: { guard: "lib/pause/guard-main.ts" },
    format: ["esm"],
    target: "node20",
    external: ["#native"],
    sourcemap: true,
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
