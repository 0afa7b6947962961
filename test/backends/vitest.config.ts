import { defineConfig } from "vitest/config";

// The real nft, in a network namespace that `npm run test:backends` makes for it. Takes root.
export default defineConfig({
  test: {
    include: ["test/backends/**/*.test.ts"],
    setupFiles: ["test/property-seed.ts"],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // One namespace, one firewall.
    fileParallelism: false,
  },
});
