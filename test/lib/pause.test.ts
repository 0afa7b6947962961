import { execFileSync, spawn } from "node:child_process";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Pauses } from "../../lib/pause/pauses.ts";
import { FakeQmp } from "./fake-qmp.ts";

let qmp: FakeQmp;
beforeEach(async () => {
  qmp = await FakeQmp.listen();
});
afterEach(() => qmp.close());

const milliseconds = (time: number) => new Promise<void>((resolve) => setTimeout(resolve, time));

describe("a pause", () => {
  it("lasts as long as the work, and tells how long that was", async () => {
    const pauses = await Pauses.open({ qmp: qmp.path }, 5000);
    const { result, pauseMs } = await pauses.during(async (stopped) => {
      expect(qmp.running).toBe(false);
      await milliseconds(30);
      return stopped;
    });
    expect(qmp.running).toBe(true);
    expect(result).toBe(true);
    expect(pauseMs).toBeGreaterThan(25);
    await pauses.close();
  });
  it("ends when the work fails", async () => {
    const pauses = await Pauses.open({ qmp: qmp.path }, 5000);
    const failing = pauses.during(() => Promise.reject(new Error("torn")));
    await expect(failing).rejects.toThrow("torn");
    expect(qmp.running).toBe(true);
    await pauses.close();
  });
  it("ends when its time is up, whatever the work does; the work then failed", async () => {
    const pauses = await Pauses.open({ qmp: qmp.path }, 50);
    const slow = pauses.during(() => qmp.until(true));
    await expect(slow).rejects.toMatchObject({ code: "PAUSE_BUDGET" });
    await pauses.close();
  });
  it("is none of a guest that stood still before, and stays so", async () => {
    qmp.running = false;
    const pauses = await Pauses.open({ qmp: qmp.path }, 5000);
    const walked = await pauses.during(async (stopped) => ({ stopped, running: qmp.running }));
    expect(walked).toEqual({ result: { stopped: false, running: false }, pauseMs: 0 });
    expect(qmp.running).toBe(false);
    await pauses.close();
    expect(qmp.log).not.toContain("cont");
  });
  it("is none of a guest that somebody else stopped after the attach, and it stays so", async () => {
    const pauses = await Pauses.open({ qmp: qmp.path }, 5000);
    await pauses.during(async () => {});
    qmp.running = false;
    qmp.tell("STOP");
    expect(await pauses.during(async () => qmp.running)).toEqual({ result: false, pauseMs: 0 });
    await pauses.close();
    expect(qmp.running).toBe(false);
  });
  it("that somebody else ended was none to walk in", async () => {
    const pauses = await Pauses.open({ qmp: qmp.path }, 5000);
    const work = async () => {
      qmp.running = true;
      qmp.tell("RESUME");
    };
    await expect(pauses.during(work)).rejects.toMatchObject({ code: "PAUSE_BUDGET" });
    expect(qmp.log.filter((command) => command === "cont")).toEqual([]);
    await pauses.close();
  });
  it("follows another, never within it", async () => {
    const pauses = await Pauses.open({ qmp: qmp.path }, 5000);
    await Promise.all([1, 2, 3].map(() => pauses.during(() => milliseconds(1))));
    expect(qmp.log.filter((command) => command === "stop" || command === "cont")).toEqual([
      "stop",
      "cont",
      "stop",
      "cont",
      "stop",
      "cont",
    ]);
    await pauses.close();
  });
  it("is not made of a guest that was reset since it was attached to", async () => {
    const pauses = await Pauses.open({ qmp: qmp.path }, 5000);
    await pauses.during(async () => {});
    qmp.tell("RESET");
    const work = () => Promise.reject(new Error("not to be done"));
    await expect(pauses.during(work)).rejects.toMatchObject({ code: "GUEST_CHANGED" });
    expect(qmp.running).toBe(true);
    await pauses.close();
  });
  it("ends although the monitor's connection ended meanwhile, and the next one finds it again", async () => {
    const pauses = await Pauses.open({ qmp: qmp.path }, 5000);
    const cut = async () => qmp.cut();
    await pauses.during(cut);
    expect(qmp.running).toBe(true);
    expect(await pauses.during(async () => qmp.running)).toMatchObject({ result: false });
    qmp.cutAt = "cont";
    await pauses.during(async () => {});
    expect(qmp.running).toBe(true);
    await pauses.close();
  });
  it("that QEMU refuses is answered with what to do, once", async () => {
    const pauses = await Pauses.open({ qmp: qmp.path }, 5000);
    qmp.refuses = "stop";
    await expect(pauses.during(async () => {})).rejects.toMatchObject({
      code: "QMP_REFUSED",
      message: "QEMU refused a command: not now. Check that this QEMU is not too old for it.",
    });
    await pauses.close();
  });
  it("ends although nobody heard that it began", async () => {
    const pauses = await Pauses.open({ qmp: qmp.path }, 5000);
    qmp.cutAt = "stop";
    await expect(pauses.during(async () => {})).rejects.toMatchObject({ code: "QMP_CLOSED" });
    expect(qmp.running).toBe(true);
    await pauses.close();
  });
});

describe("a guard that is killed", () => {
  it("leaves alone a guest that it did not stop, because QEMU refused to", async () => {
    const pauses = await Pauses.open({ qmp: qmp.path }, 5000);
    qmp.refuses = "stop";
    await expect(pauses.during(async () => {})).rejects.toMatchObject({ code: "QMP_REFUSED" });
    // Somebody else's stop, by then.
    qmp.running = false;
    process.kill(guardOf(process), "SIGKILL");
    const closed = () =>
      pauses.close().then(
        () => true,
        () => false,
      );
    await expect.poll(closed).toBe(true);
    expect(qmp.log).not.toContain("cont");
  });
});

function guardOf({ pid }: { readonly pid?: number | undefined }): number {
  return Number(execFileSync("pgrep", ["-P", String(pid), "-f", "guard"], { encoding: "utf8" }));
}

describe("an agent that pauses a guest", () => {
  /** A process that stops the guest and then does this, in which `pauses` may be used. */
  async function agent(then: string) {
    const program = `
      const { Pauses } = await import(${JSON.stringify(join(import.meta.dirname, "../../lib/pause/pauses.ts"))});
      const pauses = await Pauses.open({ qmp: ${JSON.stringify(qmp.path)} }, 60_000);
      pauses.during(() => new Promise((resolve) => { ${then} }));
      setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", program], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    await qmp.until(false);
    return child;
  }

  it.each(["SIGKILL", "SIGTERM", "SIGINT"] as const)("lets it run on when it is ended by %s", async (signal) => {
    const child = await agent("");
    child.kill(signal);
    await qmp.until(true);
  });
  it("lets it run on when it throws what nobody catches", async () => {
    await agent("setTimeout(() => { throw new Error('a bug') }, 10)");
    await qmp.until(true);
  });
  it("lets it run on when the whole service is ended, its guard's process included", async () => {
    const child = await agent("");
    process.kill(guardOf(child), "SIGTERM");
    child.kill("SIGTERM");
    await qmp.until(true);
  });
  it("says so where its guest stands still because the monitor is gone", async () => {
    const child = await agent("");
    let said = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
    qmp.close();
    child.kill("SIGKILL");
    // Its guard has the same stderr, and ends after the last try.
    await new Promise((resolve) => child.once("close", resolve));
    expect(said).toContain(`the guest at ${JSON.stringify(qmp.path)} could not be resumed`);
    qmp = await FakeQmp.listen();
  });
  it("lets it run on when it ends, although it could not be resumed when it was let go of", async () => {
    const child = await agent(`
      process.on("unhandledRejection", () => {});
      pauses.close();
      setTimeout(resolve, 100);`);
    qmp.refuses = "cont";
    const tries = () => qmp.log.filter((command) => command === "cont").length;
    // When the work was done, and when it was let go of.
    await expect.poll(tries, { timeout: 5000 }).toBe(2);
    child.kill("SIGKILL");
    qmp.refuses = undefined;
    await qmp.until(true);
  });
  it("lets it run on when its guard is killed", async () => {
    const child = await agent("");
    process.kill(guardOf(child), "SIGKILL");
    await qmp.until(true);
    child.kill("SIGKILL");
  });
});
