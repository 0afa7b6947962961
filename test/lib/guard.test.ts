import { EventEmitter } from "node:events";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { Guard } from "../../lib/pause/guard.ts";
import { GuardedDomain } from "../../lib/pause/guarded-domain.ts";
import type { Request } from "../../lib/pause/messages.ts";
import { FakeXen, uuid } from "./fake-xen.ts";

const DOMAIN = { id: 7, uuid: uuid("a") };
const faked = vi.hoisted(() => ({ addon: {} as object, child: {} as object }));
vi.mock("../../lib/native.ts", () => ({ loadNative: () => faked.addon }));
vi.mock("node:child_process", () => ({ fork: () => faked.child }));

/** In place of the guard's process: does what it is asked for, and can be killed. */
class FakeGuard extends EventEmitter {
  readonly connected = true;
  /** At the next request of this kind it is killed: before it is carried out, or before it is answered. */
  killed: { readonly at: Request["do"]; readonly before: "work" | "answer" } | undefined;
  #domain: GuardedDomain | undefined;

  unref(): void {}

  async send({ id, ...request }: Request): Promise<void> {
    const killed = this.killed?.at === request.do ? this.killed.before : undefined;
    if (killed === "work") return void this.emit("exit");
    const answer = await this.#serve(request as Request);
    if (killed) this.emit("exit");
    else this.emit("message", { id, ...answer });
  }

  async #serve(request: Request): Promise<object> {
    if (request.do === "hold") this.#domain = await GuardedDomain.hold(DOMAIN, xen);
    if (request.do === "stop") return { stop: await this.#domain!.stop(request.budgetMs) };
    if (request.do === "resume") return { pause: await this.#domain!.resume() };
    return {};
  }
}

let xen: FakeXen;
let process: FakeGuard;
beforeEach(() => {
  xen = new FakeXen();
  xen.add(7, "vm1");
  faked.addon = xen;
  process = new FakeGuard();
  faked.child = process;
});

const paused = () => xen.pauses.get(7) ?? 0;

describe("a guard that is killed", () => {
  async function held() {
    const guard = Guard.shared();
    return { guard, guest: await guard.hold({ domain: DOMAIN }) };
  }
  it.each(["work", "answer"] as const)("before the %s of a pause leaves the domain running", async (before) => {
    const { guard, guest } = await held();
    process.killed = { at: "stop", before };
    await expect(guard.stop(guest, 1000)).rejects.toMatchObject({ code: "GUARD_GONE" });
    expect(paused()).toBe(0);
  });
  it.each(["work", "answer"] as const)("before the %s of an unpause leaves it running", async (before) => {
    const { guard, guest } = await held();
    expect(await guard.stop(guest, 1000)).toBe("stopped");
    process.killed = { at: "resume", before };
    await expect(guard.resume(guest)).rejects.toMatchObject({ code: "GUARD_GONE" });
    expect(paused()).toBe(0);
  });
  it.each(["work", "answer"] as const)(
    "before the %s of a pause leaves one paused that others paused",
    async (before) => {
      const { guard, guest } = await held();
      xen.pauses.set(7, 1);
      process.killed = { at: "stop", before };
      await guard.stop(guest, 1000).catch(() => {});
      process.emit("exit");
      await guard.release(guest);
      expect(paused()).toBe(1);
    },
  );
});
