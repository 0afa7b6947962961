import type { AbortSignalLike } from "./options.ts";

/** @internal Waits; rejects with the reason of the first of these signals that is aborted. */
export function sleep(milliseconds: number, signals: readonly AbortSignalLike[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = () => {
      clearTimeout(timer);
      for (const signal of signals) signal.removeEventListener("abort", settle);
      const aborted = signals.find((signal) => signal.aborted);
      if (aborted) reject(aborted.reason);
      else resolve();
    };
    const timer = setTimeout(settle, milliseconds);
    for (const signal of signals) signal.addEventListener("abort", settle, { once: true });
    if (signals.some((signal) => signal.aborted)) settle();
  });
}

/** @internal What the work comes to; rejects with the reason of the first of these signals that is aborted before. */
export async function unlessAborted<T>(work: Promise<T>, signals: readonly AbortSignalLike[]): Promise<T> {
  let abort = () => {};
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signals.find((signal) => signal.aborted)?.reason);
  });
  for (const signal of signals) signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    for (const signal of signals) signal.removeEventListener("abort", abort);
  }
}
