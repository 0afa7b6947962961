import { invalidOption } from "./errors.ts";
import { runJob } from "./job.ts";
import { checkKernelFiles, type KernelFiles, prepareKernelFiles } from "./kernel-files.ts";
import { loadNative } from "./native.ts";
import { type AbortSignalLike, checkKeys, checkSignal } from "./options.ts";

/** What to make a profile of. Without symbols in either file, the profile has only types. */
export interface ProfileOptions extends Pick<KernelFiles, "symbols"> {
  readonly types: string;
  readonly signal?: AbortSignalLike | undefined;
}

/**
 * Makes a profile of one kernel: a few KB of JSON that hold what the walk needs to know of its types and symbols, for
 * the option `profile` of `introspect()`. Needs no guest.
 *
 * @returns the profile's text
 * @throws XFilterError: TYPES_INVALID, SYMBOLS_INVALID, LAYOUT_INCOMPLETE, TOOL_NOT_FOUND, SOURCE_*
 * @throws `signal.reason` when aborted
 */
export async function createProfile(options: ProfileOptions): Promise<string> {
  checkKeys(options, ["types", "symbols", "signal"]);
  const { types, symbols, signal } = options;
  checkSignal(signal);
  if (types === undefined) throw invalidOption("types is missing");
  const files = checkKernelFiles({ types, symbols });
  if (signal?.aborted) throw signal.reason;
  const prepared = await prepareKernelFiles(files, signal);
  return runJob(() => loadNative().makeProfile(prepared), signal);
}
