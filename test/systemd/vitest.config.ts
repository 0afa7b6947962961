import { defineConfig } from "vitest/config";

// The unit that the package brings, under a systemd of its own, with a guest to filter. By `npm run test:systemd`: the tests run on a
// host made for them.
export default defineConfig({
  test: {
    include: ["test/systemd/**/*.test.ts"],
    testTimeout: 120_000,
    hookTimeout: 300_000,
    fileParallelism: false,
  },
});
