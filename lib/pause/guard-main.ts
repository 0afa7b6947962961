// The guard: a process beside the agent's own that holds the monitors of the guests that the agent pauses. A guest that
// stands still is resumed from here when its time is up, however busy the agent's event loop is, and when the agent is
// gone, whatever ended it: the channel to it closes. It runs in a session of its own, so that Ctrl-C does not end it too.
import { toXFilterError } from "../errors.ts";
import { GuardedGuest } from "./guarded-guest.ts";
import type { Answer, Request } from "./messages.ts";

const guests = new Map<string, GuardedGuest>();

async function serve(request: Request): Promise<Omit<Answer, "id">> {
  const { path } = request;
  if (request.do === "hold") {
    guests.set(path, await GuardedGuest.hold(path));
    return {};
  }
  const guest = guests.get(path);
  if (request.do === "release") {
    guests.delete(path);
    await guest?.release();
    return {};
  }
  if (!guest) throw new Error(`nothing is held at ${path}`);
  if (request.do === "stop") return { stop: await guest.stop(request.budgetMs) };
  return { pause: await guest.resume() };
}

process.on("message", async (request: Request) => {
  const { id } = request;
  try {
    answer({ id, ...(await serve(request)) });
  } catch (cause) {
    const { code, message, advice } = toXFilterError(cause);
    answer({ id, error: { code, message, advice } });
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
