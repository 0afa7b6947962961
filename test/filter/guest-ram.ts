import { randomBytes } from "node:crypto";
import { readdirSync, readlinkSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";

const PIECE = 16 << 20;

/** The RAM of a guest that is in a memfd, written to from outside. */
export class GuestRam {
  readonly #file: FileHandle;

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  /** Of a QEMU, by its process id. */
  static async open(pid: number): Promise<GuestRam> {
    const paths = readdirSync(`/proc/${pid}/fd`).map((fd) => `/proc/${pid}/fd/${fd}`);
    const path = paths.find((path) => readlinkSync(path).startsWith("/memfd:memory-backend-memfd"));
    if (path === undefined) throw new Error(`Process ${pid} has no memory-backend-memfd.`);
    return new GuestRam(await open(path, "r+"));
  }

  /** Overwrites a text wherever it stands, and returns what puts it back. */
  async spoil(text: string): Promise<() => Promise<void>> {
    const [wanted, garbage] = [Buffer.from(text), randomBytes(text.length)];
    const { size } = await this.#file.stat();
    const places: number[] = [];
    const piece = Buffer.alloc(PIECE + wanted.length);
    for (let start = 0; start < size; start += PIECE) {
      const { bytesRead } = await this.#file.read(piece, 0, piece.length, start);
      const bytes = piece.subarray(0, bytesRead);
      for (let at = bytes.indexOf(wanted); at !== -1; at = bytes.indexOf(wanted, at + 1)) {
        if (at < PIECE) places.push(start + at);
      }
    }
    if (places.length === 0) throw new Error("The text is nowhere in the guest's memory.");
    const write = async (bytes: Buffer) => {
      for (const place of places) await this.#file.write(bytes, 0, bytes.length, place);
    };
    await write(garbage);
    return () => write(wanted);
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}
