import { readFile } from "node:fs/promises";

/** Bad luck: another boot may do. */
export class BootFailed extends Error {}

/** What the guest complains of on its console, with the end of that; `null` where it does not. */
export async function complaint(console: string): Promise<Error | null> {
  // Not there yet, or no longer: a boot that is over takes its directory with it.
  const text = await readFile(console, "latin1").catch(() => "");
  const said = `The guest's console:\n${text.slice(-4000)}`;
  if (/Kernel panic|Address already in use/.test(text)) return new BootFailed(said);
  return /fixture:/.test(text) ? new Error(said) : null;
}

/**
 * What `boot` resolves with, in three tries. QEMU's TCG at times fetches an instruction that the kernel patches on another CPU, and 7.2
 * dies of the int3 that stands there meanwhile: it gets another try. So does a guest in which the kernel gave a client a port that the
 * workload was about to bind.
 */
export async function inThreeTries<T>(boot: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await boot();
    } catch (error) {
      if (!(error instanceof BootFailed) || tries === 3) throw error;
    }
  }
}
