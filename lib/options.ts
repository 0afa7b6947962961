import { invalidOption } from "./errors.ts";

/** An `AbortSignal`, of Node.js, a browser's types or another realm, as far as it is used here. */
export interface AbortSignalLike {
  readonly aborted: boolean;
  readonly reason: unknown;
  addEventListener(type: "abort", listener: () => void, options?: { once?: boolean }): void;
  removeEventListener(type: "abort", listener: () => void): void;
}

/**
 * The signal that one is given or has to give where the work is Node.js's own: the `AbortSignal` of the program's types, where
 * they know it (TypeScript's `dom`, `@types/node`), and what is used of it otherwise.
 */
export type ProgramAbortSignal = typeof globalThis extends {
  readonly AbortSignal: { readonly prototype: infer Signal extends AbortSignalLike };
}
  ? Signal
  : AbortSignalLike;

/** @internal Throws unless it is an object that has no other keys than these: a misspelt option is no default. */
export function checkKeys(options: object, known: readonly string[], name = "the options"): void {
  if (typeof options !== "object" || options === null) throw invalidOption(`${name} are not an object`);
  const unknown = Object.keys(options).find((key) => !known.includes(key));
  if (unknown !== undefined) {
    throw invalidOption(`${JSON.stringify(unknown)} is not among ${name}, which are ${known.join(", ")}`);
  }
}

/** @internal Throws unless it is undefined or an AbortSignal, of this realm or another. */
export function checkSignal(signal: AbortSignalLike | undefined): void {
  if (signal === undefined) return;
  if (typeof signal !== "object" || signal === null || !("aborted" in signal)) {
    throw invalidOption("signal is not an AbortSignal");
  }
}
