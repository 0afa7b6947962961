import { defineConfig } from "vitest/config";

// The packed tarball, installed as a user would: `npm run check:package` builds the prebuilt addon first.
export default defineConfig({
  test: {
    include: ["test/package/**/*.test.ts"],
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
});
