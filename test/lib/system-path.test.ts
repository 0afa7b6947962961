import { existsSync } from "node:fs";
import { afterEach, expect, it, vi } from "vitest";
import { askIp } from "../../lib/sources/ip.ts";
import { systemPath } from "../../lib/system-path.ts";

afterEach(() => vi.unstubAllEnvs());

it.each([undefined, "", "/opt/bin"])(
  "the system's programs are found with PATH %j, behind those that it names",
  (path) => {
    vi.stubEnv("PATH", path);
    expect(systemPath()).toBe(`${path ? `${path}:` : ""}/usr/sbin:/sbin:/usr/bin:/bin`);
  },
);

it.runIf(existsSync("/usr/sbin/ip") || existsSync("/sbin/ip"))("`ip` is found where no PATH leads to it", async () => {
  vi.stubEnv("PATH", "/nowhere");
  await expect(askIp("link")).resolves.toBeInstanceOf(Array);
});
