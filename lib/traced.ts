import { tracingChannel } from "node:diagnostics_channel";

/**
 * @internal Work that `node:diagnostics_channel` tells of, to whoever subscribes to the channels `tracing:NAME:start` and so on; where
 * nobody does it costs a look at five flags. The message gets what the work resolved with as `result`, or what it rejected with as `error`.
 */
export class Tracer<Subject extends object> {
  readonly #channel;

  constructor(name: string) {
    this.#channel = tracingChannel<unknown, Subject>(name);
  }

  run<R>(subject: Subject, work: () => Promise<R>): Promise<R> {
    const { start, end, asyncStart, asyncEnd, error } = this.#channel;
    // Of all five at once it can be asked from Node.js 20.13 on.
    const isWatched = [start, end, asyncStart, asyncEnd, error].some(({ hasSubscribers }) => hasSubscribers);
    return isWatched ? this.#channel.tracePromise(work, subject) : work();
  }
}
