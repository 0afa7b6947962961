import { defineConfig } from "vitest/config";

// Two guests on networks of their own, and what a firewall on their devices does to their users. By `npm run test:filter`:
// the tests run in a network namespace made for them.
export default defineConfig({
  test: {
    include: ["test/filter/**/*.test.ts"],
    testTimeout: 120_000,
    hookTimeout: 300_000,
    fileParallelism: false,
  },
});
