import { appendFileSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { run } from "../../vmcore-fixtures/command.ts";
import { alice, type Lab, type LabGuest, mallory, startLab, type Talker } from "../../vmcore-fixtures/lab.ts";
import { type Held, losses } from "../../vmcore-fixtures/lab-report.ts";
import { systemctl, Unit } from "./unit.ts";

// The unit as it is shipped, run by a systemd, on guests in QEMUs: one of root's, and one of a user's.

const shipped = (name: string) => readFileSync(join(import.meta.dirname, "../../contrib/systemd", name), "utf8");
const RULES = ["tcp", "udp"].map((protocol) => `deny ${protocol} from any to any 22 out uid ${mallory}\n`).join("");
const QEMU_B = 20_001;

const abort = new AbortController();
const [a, b] = [new Unit("a"), new Unit("b")];
let lab: Lab;
let honest: Talker;
let blocked: { readonly a: Talker; readonly b: Talker };

beforeAll(async () => {
  await systemctl("start", "systemd-journald");
  appendFileSync("/etc/passwd", `qemu-b:x:${QEMU_B}:${QEMU_B}::/:/bin/false\n`);
  appendFileSync("/etc/group", `qemu-b:x:${QEMU_B}:\n`);
  lab = await startLab({ signal: abort.signal, userOfB: QEMU_B });
  honest = await lab.a.talk({ uid: alice, hold: ["tcp4:22", "udp4:22"] });
  const talk = (guest: LabGuest) => guest.talk({ uid: mallory, hold: ["udp4:22"], drain: 500 });
  blocked = { a: await talk(lab.a), b: await talk(lab.b) };
});

afterEach(async () => {
  for (const unit of [a, b]) {
    await unit.stop();
    await unit.dropIn();
  }
  await run("xfilter", ["clear", "--all"]);
});

afterAll(async () => {
  await lab?.close();
  abort.abort();
});

const byMonitor = ({ live }: LabGuest, options = "") =>
  `TARGET=qemu:${live.qmp}\nOPTIONS=--interval 100ms ${options}\n`;
const byPid = ({ live }: LabGuest) => `TARGET=qemu:pid:${live.pid}\n`;

/** Bytes of a blocked user, who sends all the time, that come through while something happens, and for half a second more. */
async function passed(during: () => Promise<unknown>, who: "a" | "b" = "a"): Promise<number> {
  const flow: Held = blocked[who].started.held[0]!;
  const arrived = async () =>
    (await lab[who].outside.report()).heard.find((heard) => heard.flow === flow.flow)?.bytes ?? 0;
  const before = await arrived();
  await during();
  await sleep(500);
  return (await arrived()) - before;
}

async function waitForOtherPid(unit: Unit, pid: number): Promise<void> {
  const isOther = async () => (await unit.property("ActiveState")) === "active" && (await unit.pid()) !== pid;
  await expect.poll(isOther, { timeout: 60_000, interval: 100 }).toBe(true);
}

describe("the unit", () => {
  it("is in order, and of little exposure, as systemd sees it", async () => {
    expect((await run("systemd-analyze", ["verify", "--man=no", "/run/units/xfilter@.service"])).toString()).toBe("");
    // In tenths. What is left is what it takes: root's user, two capabilities, QEMU's process, the network.
    await run("systemd-analyze", ["security", "--offline=true", "--threshold=26", "/run/units/xfilter@.service"]);
  });

  it("has started when the rules are in force", async () => {
    a.configure(byMonitor(lab.a, "--audit /var/log/xfilter/a"), RULES);
    expect(await passed(() => sleep(200))).toBeGreaterThan(0);
    await a.start();
    expect(await passed(() => sleep(500))).toBe(0);
    expect(await a.property("StatusText")).toBe("filtering tap-a by 2 rules with nftables");
    expect((await run("xfilter", ["status"])).toString()).toContain(`by process ${await a.pid()}`);
    expect(readFileSync("/var/log/xfilter/a", "utf8")).toContain('"set"');
  });

  it("runs with no more than it says", async () => {
    a.configure(byMonitor(lab.a), RULES);
    await a.start();
    const status = readFileSync(`/proc/${await a.pid()}/status`, "utf8");
    const field = (name: string) => new RegExp(`^${name}:\\s+(\\S+)`, "m").exec(status)![1];
    // CAP_NET_ADMIN and CAP_SYS_PTRACE.
    expect(BigInt(`0x${field("CapEff")}`)).toBe((1n << 12n) | (1n << 19n));
    expect(field("CapBnd")).toBe(field("CapEff"));
    expect([field("NoNewPrivs"), field("Seccomp")]).toEqual(["1", "2"]);
  });

  it("lets nothing through while it is started anew", async () => {
    a.configure(byMonitor(lab.a), RULES);
    await a.start();
    const pid = await a.pid();
    expect(await passed(() => a.restart())).toBe(0);
    expect(await a.pid()).not.toBe(pid);
  });

  it("comes back when it was killed, and nothing passes meanwhile", async () => {
    a.configure(byMonitor(lab.a), RULES);
    await a.start();
    const pid = await a.pid();
    const killed = async () => {
      process.kill(pid, "SIGKILL");
      await waitForOtherPid(a, pid);
    };
    expect(await passed(killed)).toBe(0);
  });

  it("is ended and started anew when its process hangs", async () => {
    a.configure(byMonitor(lab.a), RULES);
    await a.dropIn("WatchdogSec=2\nRestartSec=0");
    await a.start();
    const pid = await a.pid();
    await sleep(5000); // longer than the watchdog waits: it hears of the process
    expect(await a.pid()).toBe(pid);
    process.kill(pid, "SIGSTOP");
    await waitForOtherPid(a, pid);
    expect(await a.property("NRestarts")).toBe("1");
  });

  it("leaves no guest standing still that it had paused, when it is killed", async () => {
    a.configure(byMonitor(lab.a, "--pause --hold apply --interval 1ms"), RULES);
    await a.dropIn("Restart=no");
    await a.start();
    const pid = await a.pid();
    const { monitor } = lab.a.live;
    const status = async () => ((await monitor.execute("query-status")) as { status: string }).status;
    const isCaught = async () => {
      process.kill(pid, "SIGSTOP");
      if ((await status()) === "paused") return true;
      process.kill(pid, "SIGCONT");
      return false;
    };
    await expect.poll(isCaught, { timeout: 30_000, interval: 10 }).toBe(true);
    process.kill(pid, "SIGKILL");
    await expect.poll(status, { timeout: 10_000, interval: 50 }).toBe("running");
  });

  it("leaves in force what is, when it is stopped, until that is cleared", async () => {
    a.configure(byMonitor(lab.a), RULES);
    await a.start();
    await a.stop();
    expect(await a.property("ActiveState")).toBe("inactive");
    expect(await passed(() => sleep(500))).toBe(0);
    await run("xfilter", ["clear", `qemu:${lab.a.live.qmp}`]);
    expect(await passed(() => sleep(1000))).toBeGreaterThan(0);
  });

  it("fails, once, with wrong rules, and says what is wrong", async () => {
    a.configure(byMonitor(lab.a), "deny everything\n");
    await a.dropIn("RestartSec=0");
    await expect(a.start()).rejects.toThrow();
    await sleep(1000);
    expect(await a.property("ActiveState")).toBe("failed");
    expect(await a.property("NRestarts")).toBe("0");
    expect(await a.said()).toMatch(/^xfilter: USAGE: Bad rule: \/etc\/xfilter\/a\.rules:1: /m);
  });
});

describe("the privileges", () => {
  const only = (...capabilities: string[]) =>
    `CapabilityBoundingSet=\nCapabilityBoundingSet=${capabilities.map((name) => `CAP_${name}`).join(" ")}`;

  it.each([
    ["changing the firewall", "CAP_NET_ADMIN", "SYS_PTRACE", "BACKEND_PERMISSION"],
    ["reading QEMU", "CAP_SYS_PTRACE", "NET_ADMIN", "SOURCE_PERMISSION"],
  ])("%s takes %s", async (_what, _without, capability, code) => {
    a.configure(byMonitor(lab.a), RULES);
    await a.dropIn(only(capability), "Restart=no");
    await expect(a.start()).rejects.toThrow();
    expect(await a.said()).toContain(`xfilter: ${code}: `);
  });

  it.each([
    ["by its process, CAP_DAC_READ_SEARCH", "DAC_READ_SEARCH", byPid],
    ["by its monitor, CAP_DAC_OVERRIDE", "DAC_OVERRIDE", byMonitor],
  ])("root takes for a QEMU that another user runs, %s", async (_how, capability, settings) => {
    b.configure(settings(lab.b), RULES);
    await b.dropIn("Restart=no");
    await expect(b.start()).rejects.toThrow();
    expect(await b.said()).toContain("xfilter: SOURCE_PERMISSION: ");
    await b.dropIn(`CapabilityBoundingSet=CAP_${capability}`);
    await b.start();
    expect(await passed(() => sleep(500), "b")).toBe(0);
  });

  it.each([
    ["its monitor", byMonitor],
    ["its monitor, paused", (guest: LabGuest) => byMonitor(guest, "--pause --hold apply")],
    ["its process", byPid],
  ])("QEMU's own user takes no more than CAP_NET_ADMIN, by %s", async (_how, settings) => {
    b.configure(settings(lab.b), RULES);
    await b.dropIn(shipped("as-qemu.conf").replace("libvirt-qemu", "qemu-b"));
    await b.start();
    expect(await passed(() => sleep(500), "b")).toBe(0);
    const status = readFileSync(`/proc/${await b.pid()}/status`, "utf8");
    expect(status).toMatch(new RegExp(`^Uid:\\s+${QEMU_B}\\s+${QEMU_B}\\s`, "m"));
    expect(status).toMatch(/^CapEff:\s+0+1000$/m);
  });

  it("are enough for a guest of libvirt's, whose process id is in a file of root's", async () => {
    mkdirSync("/run/libvirt/qemu", { recursive: true });
    writeFileSync("/run/libvirt/qemu/b.pid", `${lab.b.live.pid}`, { mode: 0o600 });
    b.configure("", RULES);
    await b.dropIn(shipped("as-qemu.conf").replace("libvirt-qemu", "qemu-b"), shipped("libvirt.conf"));
    await b.start();
    expect(await passed(() => sleep(500), "b")).toBe(0);
  });

  it("a guest of libvirt's that is off is waited for", async () => {
    rmSync("/run/libvirt/qemu/b.pid", { force: true });
    b.configure("", RULES);
    await b.dropIn(shipped("libvirt.conf"));
    await systemctl("start", "--no-block", b.name);
    await expect.poll(() => b.property("SubState"), { timeout: 30_000, interval: 100 }).toBe("auto-restart");
  });

  it.each([
    ["iptables-nft and conntrack, as the unit is", "iptables-nft", "--flush-conntrack-zone 7", []],
    ["iptables-legacy, with what it takes", "iptables-legacy", "", [shipped("iptables-legacy.conf")]],
  ])("are enough for %s", async (_what, backend, options, texts) => {
    a.configure(byMonitor(lab.a, `--backend ${backend} ${options}`), RULES);
    await a.dropIn(...texts);
    await a.start();
    expect(await a.property("StatusText")).toMatch(new RegExp(` with ${backend}$`));
    await sleep(500);
    expect(await a.said()).not.toMatch(/failed|warning/);
  });

  it("are enough for metrics, which others may read, where a drop-in lets it write", async () => {
    mkdirSync("/run/metrics");
    a.configure(byMonitor(lab.a, "--metrics /run/metrics/a.prom"), RULES);
    await a.dropIn("ReadWritePaths=/run/metrics");
    await a.start();
    const file = "/run/metrics/a.prom";
    await expect
      .poll(() => readFileSync(file, "utf8"), { timeout: 20_000, interval: 500 })
      .toMatch(/^xfilter_running.* 1$/m);
    expect(statSync(file).mode & 0o777).toBe(0o644);
  });
});

it("what is in force goes with the guest's QEMU, and the unit waits for another", async () => {
  b.configure(byMonitor(lab.b), RULES);
  await b.dropIn(shipped("as-qemu.conf").replace("libvirt-qemu", "qemu-b"));
  await b.start();
  await lab.b.live.close();
  await expect.poll(() => b.property("SubState"), { timeout: 30_000, interval: 100 }).toBe("auto-restart");
  expect((await run("xfilter", ["status"])).toString()).toBe("nothing is in force\n");
});

it("none of this cost anybody else a byte", async () => {
  expect(losses(await honest.stop(), await lab.a.outside.report())).toEqual([]);
});
