import { defineConfig } from "vitest/config";

// Guests that run while they are read: takes QEMU, and Debian packages where a guest is not in the cache.
export default defineConfig({
  test: {
    include: ["test/live/**/*.test.ts"],
    testTimeout: 180_000,
    hookTimeout: 600_000,
    fileParallelism: false,
    // A guest that runs does as it likes between its truth and the reading. What the walks under churn came to is counted
    // once, before the tests that judge it, and no second try changes that.
    retry: 1,
  },
});
