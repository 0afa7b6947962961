import { defineConfig } from "vitest/config";

// Domains of a real Xen: takes QEMU, and Debian packages where the cores are not in the cache.
export default defineConfig({
  test: {
    include: ["test/xen/**/*.test.ts"],
    testTimeout: 700_000,
    hookTimeout: 3_000_000,
    fileParallelism: false,
  },
});
