import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
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

it("what a program of the system's says that fails is told, with a code", async () => {
  const bin = mkdtempSync(join(tmpdir(), "xfilter-bin-"));
  writeFileSync(join(bin, "ip"), "#!/bin/sh\necho 'Operation not permitted' >&2\nexit 1\n", { mode: 0o755 });
  vi.stubEnv("PATH", `${bin}:${process.env.PATH}`);
  const message = "`ip link` failed: Operation not permitted. Run it as the same user, and see.";
  await expect(askIp("link")).rejects.toMatchObject({ code: "INTERNAL", message });
  rmSync(bin, { recursive: true });
});
