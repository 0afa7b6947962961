import { defineConfig } from "vitest/config";

// The quick suite. Real kernels and the packed tarball have configurations of their own beside their tests.
export default defineConfig({
  test: {
    include: [
      "test/lib/**/*.test.ts",
      "test/cli/**/*.test.ts",
      "test/docs/**/*.test.ts",
      "test/examples/**/*.test.ts",
      "vmcore-fixtures/**/*.test.ts",
    ],
    // One fewer than the machine has CPUs is the default, and of two it leaves one idle.
    maxWorkers: "100%",
    setupFiles: ["test/property-seed.ts"],
    testTimeout: 30_000,
    // A second is short on a machine that does something else, too.
    expect: { poll: { timeout: 10_000 } },
  },
});
