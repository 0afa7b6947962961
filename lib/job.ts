import { toXFilterError } from "./errors.ts";
import type { NativeJob } from "./native.ts";
import type { AbortSignalLike } from "./options.ts";

/**
 * @internal Starts a job of the addon and waits for it; an abort cancels it, and is not kept waiting by it.
 * Rejects with `signal.reason` when aborted, with XFilterError when the job fails.
 *
 * @param discard - lets go of a result that came although the signal was aborted
 */
export async function runJob<T>(
  start: () => NativeJob<T>,
  signal: AbortSignalLike | undefined,
  discard: (result: T) => void = () => {},
): Promise<T> {
  if (signal?.aborted) throw signal.reason;
  let stopListening = () => {};
  let job: NativeJob<T> | undefined;
  try {
    const started = start();
    job = started;
    const aborted = new Promise<void>((resolve) => {
      const abort = () => {
        started.cancel();
        resolve();
      };
      signal?.addEventListener("abort", abort, { once: true });
      stopListening = () => signal?.removeEventListener("abort", abort);
    });
    const result = await Promise.race([started.promise, aborted]);
    // A result may have come at the very moment of the abort.
    if (!signal?.aborted) return result as T;
  } catch (cause) {
    if (!signal?.aborted) throw toXFilterError(cause);
  } finally {
    stopListening();
  }
  job?.promise.then(discard, () => {});
  throw signal.reason;
}
