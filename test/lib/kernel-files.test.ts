import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { createProfile, introspect, type KernelFiles } from "../../lib/index.ts";
import { scrubVmcoreinfo } from "../../vmcore-fixtures/scrub.ts";
import { unpack } from "../../vmcore-fixtures/unpack.ts";
import {
  filesOfGuest,
  type GuestFiles,
  withForgedBtf,
  withoutBtf,
  withoutKallsyms,
} from "../kernel-files/guest-files.ts";

const folder = mkdtempSync(join(tmpdir(), "xfilter-kernel-files-"));
let image: string;
let files: GuestFiles;
let expected: unknown;

beforeAll(async () => {
  ({ image } = await unpack());
  files = await filesOfGuest(image, folder);
  expected = await rows(image);
});
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(() => vi.unstubAllEnvs());

async function rows(target: string, options: KernelFiles = {}) {
  const guest = await introspect(target, options);
  const { processes, sockets } = (await guest.snapshot()).toJSON();
  await guest.close();
  return { processes, sockets };
}

function file(name: string, content: Uint8Array | string): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

function fifo(name: string): string {
  execFileSync("mkfifo", [join(folder, name)]);
  return join(folder, name);
}

/** A vmlinux of one C file, with these flags of gcc. */
function compile(name: string, ...flags: string[]): string {
  const source = file(`${name}.c`, "struct task_struct { int pid; } init_task;\n");
  execFileSync("gcc", [...flags, "-c", "-o", join(folder, name), source]);
  return join(folder, name);
}

describe("types and symbols from outside", () => {
  it.each<[string, () => KernelFiles]>([
    ["a BTF file", () => ({ types: files.btf })],
    ["a BTF file and a System.map", () => ({ types: files.btf, symbols: files.systemMap })],
    ["a System.map alone", () => ({ symbols: files.systemMap })],
    ["an ISF file", () => ({ types: files.isf })],
    ["an ISF file for its symbols alone", () => ({ symbols: files.isf })],
    ["a gzipped ISF file", () => ({ types: file("isf.json.gz", gzipSync(readFileSync(files.isf), { level: 1 })) })],
    [
      "a System.map in brotli",
      () => ({
        symbols: file(
          "map.br",
          brotliCompressSync(readFileSync(files.systemMap), { params: { [constants.BROTLI_PARAM_QUALITY]: 1 } }),
        ),
      }),
    ],
    ["a profile", () => ({ profile: files.profile })],
  ])("give the same rows as the guest's own: %s", async (_, given) => {
    expect(await rows(image, given())).toEqual(expected);
  });

  it("says whose types and symbols were used", async () => {
    const from = async (options: KernelFiles) => {
      const guest = await introspect(image, options);
      await guest.close();
      return [guest.kernel.typesFrom, guest.kernel.symbolsFrom];
    };
    expect(await from({})).toEqual(["guest", "guest"]);
    expect(await from({ types: files.btf })).toEqual(["file", "guest"]);
    expect(await from({ symbols: files.systemMap })).toEqual(["guest", "file"]);
    expect(await from({ types: files.isf })).toEqual(["file", "file"]);
  });

  it("stand in for a guest that carries no BTF", async () => {
    const scrubbed = await withoutBtf(image, join(folder, "no-btf.elf"), folder);
    const error = { code: "TYPES_NOT_FOUND", advice: expect.stringContaining("(types)") };
    await expect(introspect(scrubbed)).rejects.toMatchObject(error);
    for (const given of [{ types: files.btf }, { types: files.isf }, { profile: files.profile }]) {
      expect(await rows(scrubbed, given)).toEqual(expected);
    }
  });

  it("stand in for a guest that carries no symbol table", async () => {
    const scrubbed = await withoutKallsyms(image, join(folder, "no-kallsyms.elf"), folder);
    const error = { code: "SYMBOLS_NOT_FOUND", advice: expect.stringContaining("(symbols)") };
    await expect(introspect(scrubbed)).rejects.toMatchObject(error);
    for (const given of [{ symbols: files.systemMap }, { profile: files.profile }]) {
      expect(await rows(scrubbed, given)).toEqual(expected);
    }
  });

  it("stand against a guest that lies about its types", async () => {
    const forged = await withForgedBtf(image, join(folder, "forged.elf"), folder);
    expect(await rows(forged)).not.toEqual(expected);
    expect(await rows(forged, { types: files.btf })).toEqual(expected);
    expect(await rows(forged, { profile: files.profile })).toEqual(expected);
  });

  it.each([
    [
      "its build id",
      (kernel: { buildId?: string; banner?: string }) => {
        kernel.buildId = "00".repeat(20);
      },
    ],
    [
      "its banner",
      (kernel: { buildId?: string; banner?: string }) => {
        delete kernel.buildId;
        kernel.banner = "Linux version 1.0";
      },
    ],
  ])("are refused when %s is another kernel's", async (_, change) => {
    const profile = JSON.parse(readFileSync(files.profile, "utf8"));
    change(profile.kernel);
    const given = { profile: file("other.json", JSON.stringify(profile)) };
    await expect(introspect(image, given)).rejects.toMatchObject({ code: "PROFILE_MISMATCH" });
  });

  it("are refused when the symbols lead elsewhere", async () => {
    const moved = readFileSync(files.systemMap, "utf8").replace(
      /[0-9a-f]{16} D linux_banner/,
      "ffffffff81000000 D linux_banner",
    );
    const given = { symbols: file("moved.map", moved) };
    await expect(introspect(image, given)).rejects.toMatchObject({ code: "PROFILE_MISMATCH" });
  });

  it.each(["banner", "build id"])(
    "are refused by both kernels' names where no VMCOREINFO tells the guest's: by %s",
    async (kind) => {
      const scrubbed = join(folder, "no-vmcoreinfo.elf");
      copyFileSync(image, scrubbed);
      scrubVmcoreinfo(scrubbed);
      const profile = JSON.parse(readFileSync(files.profile, "utf8"));
      const other = kind === "banner" ? "Linux version 1.0 (other)" : "00".repeat(20);
      const own: string = kind === "banner" ? "Linux version 6.1.0-" : profile.kernel.buildId;
      profile.kernel = kind === "banner" ? { banner: other } : { buildId: other };
      if (kind === "banner") {
        // Another kernel's banner is elsewhere: these symbols lead to nothing of the guest's.
        profile.symbols.linux_banner = `0x${(BigInt(profile.symbols.linux_banner) + 64n).toString(16)}`;
      }
      const error: unknown = await introspect(scrubbed, {
        profile: file("other-kernel.json", JSON.stringify(profile)),
      }).catch((reason: unknown) => reason);
      expect(error).toMatchObject({ code: "PROFILE_MISMATCH", message: expect.stringContaining(other) });
      expect(error).toMatchObject({ message: expect.stringContaining(own) });
    },
  );

  it("are refused when the types do not fit", async () => {
    const profile = JSON.parse(readFileSync(files.profile, "utf8"));
    profile.members["cred.uid"].offset -= 8;
    const given = { profile: file("crooked.json", JSON.stringify(profile)) };
    await expect(introspect(image, given)).rejects.toMatchObject({ code: "TYPES_INVALID" });
  });

  it.each<[string, string, () => KernelFiles]>([
    ["TYPES_INVALID", "text", () => ({ types: file("text", "these are no types") })],
    ["SYMBOLS_INVALID", "text for symbols", () => ({ symbols: file("text", "these are no symbols") })],
    [
      "TYPES_INVALID",
      "half an ISF file",
      () => ({ types: file("half.json", readFileSync(files.isf).subarray(0, 1 << 20)) }),
    ],
    [
      "TYPES_INVALID",
      "half a profile",
      () => ({ profile: file("half-profile", readFileSync(files.profile).subarray(0, 900)) }),
    ],
    ["TYPES_INVALID", "a profile of a later version", () => ({ profile: file("later", '{"xfilterProfile":2}') })],
    ["TYPES_INVALID", "a System.map for types", () => ({ types: files.systemMap })],
    ["SYMBOLS_INVALID", "BTF for symbols", () => ({ symbols: files.btf })],
    [
      "SYMBOLS_INVALID",
      "Debian's placeholder for a System.map",
      () => ({ symbols: file("map", "ffffffffffffffff B The real System.map is elsewhere\n") }),
    ],
    ["TYPES_INVALID", "an xz file", () => ({ types: file("isf.xz", Buffer.from("fd377a585a0000", "hex")) })],
    ["TYPES_INVALID", "a broken gzip file", () => ({ types: file("broken.gz", Buffer.from("1f8b08ff", "hex")) })],
    ["TYPES_INVALID", "a folder", () => ({ types: folder })],
    ["TYPES_INVALID", "a FIFO that is called like a packed file", () => ({ types: fifo("types.br") })],
    ["SOURCE_NOT_FOUND", "no file", () => ({ types: join(folder, "nowhere") })],
    ["TYPES_INVALID", "a memory image", () => ({ types: image })],
    ["TYPES_INVALID", "a profile without members", () => ({ profile: file("empty.json", '{"xfilterProfile":1}') })],
  ])("are answered with %s: %s", async (code, _, given) => {
    const error = await introspect(image, given()).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ name: "XFilterError", code, advice: expect.stringMatching(/\.$/) });
  });
});

describe("a vmlinux with DWARF and no BTF", () => {
  it("is converted by pahole, and its temporary file removed", async () => {
    // What pahole makes is ours to say: a program of that name that copies the kernel's BTF.
    const bin = join(folder, "bin");
    mkdirSync(bin);
    const script = `#!/bin/sh\nexec cp ${JSON.stringify(files.btf)} "\${1#--btf_encode_detached=}"\n`;
    writeFileSync(join(bin, "pahole"), script);
    chmodSync(join(bin, "pahole"), 0o755);
    vi.stubEnv("PATH", `${bin}${delimiter}${process.env.PATH}`);
    const vmlinux = compile("with-dwarf", "-g");
    const before = readdirSync(tmpdir()).filter((name) => name.startsWith("xfilter-pahole"));
    const profile = await createProfile({ types: vmlinux, symbols: files.systemMap });
    expect(JSON.parse(profile).members).toEqual(JSON.parse(readFileSync(files.profile, "utf8")).members);
    expect(readdirSync(tmpdir()).filter((name) => name.startsWith("xfilter-pahole"))).toEqual(before);
  });
  it("needs pahole, which the error names with its package", async () => {
    const vmlinux = compile("needs-pahole", "-g");
    vi.stubEnv("PATH", join(folder, "nothing-here"));
    await expect(createProfile({ types: vmlinux })).rejects.toMatchObject({
      code: "TOOL_NOT_FOUND",
      message: expect.stringContaining("pahole"),
      advice: expect.stringContaining("package pahole"),
    });
  });
  it("is refused when it has no debug information either", async () => {
    await expect(createProfile({ types: compile("stripped") })).rejects.toMatchObject({ code: "TYPES_INVALID" });
  });
});

describe("a profile", () => {
  it("is the same whether files or the guest make it", async () => {
    const parts = ({ symbols, members, sizes, enumerators }: Record<string, unknown>) => ({
      symbols,
      members,
      sizes,
      enumerators,
    });
    const own = parts(JSON.parse(readFileSync(files.profile, "utf8")));
    const of = async (options: Parameters<typeof createProfile>[0]) => parts(JSON.parse(await createProfile(options)));
    expect(await of({ types: files.btf, symbols: files.systemMap })).toEqual(own);
    expect(await of({ types: files.isf })).toEqual(own);
  });
  it("made of a profile is that profile", async () => {
    expect(await createProfile({ types: files.profile })).toBe(readFileSync(files.profile, "utf8"));
  });
  it.each([
    ["member", "members", "cred.uid"],
    ["member that the kernel may lack", "members", "sock.sk_uid"],
    ["symbol", "symbols", "tcp_hashinfo"],
  ])(
    "of an earlier version, which did not ask for some %s, is refused: rows would be missing",
    async (_, part, name) => {
      const profile = JSON.parse(readFileSync(files.profile, "utf8"));
      expect(profile[part]).toHaveProperty([name]);
      delete profile[part][name];
      const given = { profile: file("earlier.json", JSON.stringify(profile)) };
      const error = {
        code: "TYPES_INVALID",
        message: expect.stringContaining(name),
        advice: expect.stringContaining("anew"),
      };
      await expect(introspect(image, given)).rejects.toMatchObject(error);
    },
  );
  it("may hold what this version does not know", async () => {
    const profile = JSON.parse(readFileSync(files.profile, "utf8"));
    Object.assign(profile, { later: [1, { a: null }] });
    Object.assign(profile.members["cred.uid"], { later: true });
    expect(await rows(image, { profile: file("newer.json", JSON.stringify(profile, null, 1)) })).toEqual(expected);
  });
});
