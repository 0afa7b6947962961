import { defineConfig } from "vitest/config";

// Real kernels: builds the images that are missing, which takes Debian packages and QEMU.
export default defineConfig({
  test: {
    include: ["test/kernels/**/*.test.ts"],
    testTimeout: 120_000,
    hookTimeout: 1_200_000,
    fileParallelism: false,
  },
});
