import { defineConfig } from "vitest/config";

// Guests that run while they are read: takes QEMU, and Debian packages where a guest is not in the cache.
export default defineConfig({
  test: {
    include: ["test/live/**/*.test.ts"],
    testTimeout: 180_000,
    hookTimeout: 600_000,
    fileParallelism: false,
  },
});
