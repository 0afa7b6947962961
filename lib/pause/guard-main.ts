// The guard: a process beside the agent's own that pauses guests for the agent, and holds their monitors. A guest that
// stands still is resumed from here when its time is up, however busy the agent's event loop is, and when the agent is
// gone, whatever ended it: the channel to it closes. It runs in a session of its own, so that Ctrl-C does not end it too.
import { toXFilterError } from "../errors.ts";
import { loadNative } from "../native.ts";
import { GuardedDomain } from "./guarded-domain.ts";
import { GuardedGuest } from "./guarded-guest.ts";
import type { Answer, Guarded, Pausable, Request } from "./messages.ts";

const guests = new Map<number, Guarded>();

function hold(pausable: Pausable): Promise<Guarded> {
  return "qmp" in pausable ? GuardedGuest.hold(pausable.qmp) : GuardedDomain.hold(pausable.domain, loadNative());
}

async function serve(request: Request): Promise<Omit<Answer, "id">> {
  if (request.do === "hold") {
    guests.set(request.guest, await hold(request.pausable));
    return {};
  }
  const guest = guests.get(request.guest);
  if (request.do === "release") {
    await guest?.release();
    // One that could not be resumed is tried again when this process ends.
    guests.delete(request.guest);
    return {};
  }
  if (!guest) throw new Error("this guest is not held");
  if (request.do === "stop") return { stop: await guest.stop(request.budgetMs) };
  return { pause: await guest.resume() };
}

process.on("message", async (request: Request) => {
  const { id } = request;
  try {
    answer({ id, ...(await serve(request)) });
  } catch (cause) {
    const { code, what, advice } = toXFilterError(cause);
    answer({ id, error: { code, what, advice } });
  }
});

function answer(answer: Answer): void {
  // An agent that has gone meanwhile is no failure; "disconnect" follows.
  if (process.connected) process.send?.(answer, undefined, {}, () => {});
}

async function leave(exitCode: number): Promise<void> {
  await Promise.allSettled(Array.from(guests.values(), (guest) => guest.release()));
  process.exit(exitCode);
}

process.on("disconnect", () => leave(0));
// Its guests must not pay for a fault of the guard's.
process.on("uncaughtException", () => leave(1));
// When a service is stopped, each of its processes gets the signal: the guard is the last that may go.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});
