import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { run } from "./command.ts";

/** A package of a suite, as that suite holds it today. */
export interface DebianPackage {
  readonly name: string;
  readonly version: string;
  readonly source: string;
}

interface AptSource {
  uri: string;
  suites: string[];
  options: string;
}

const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";

function oneLineSources(text: string): AptSource[] {
  const sources: AptSource[] = [];
  for (const line of text.split("\n")) {
    const match = /^\s*deb\s+(?:\[(?<options>[^\]]*)\]\s+)?(?<uri>\S+)\s+(?<suite>\S+)\s/.exec(`${line} `);
    if (match?.groups?.uri && match.groups.suite)
      sources.push({ uri: match.groups.uri, suites: [match.groups.suite], options: match.groups.options ?? "" });
  }
  return sources;
}

function deb822Sources(text: string): AptSource[] {
  return text.split(/\n\s*\n/).flatMap((paragraph) => {
    const field = (name: string) =>
      new RegExp(`^${name}:[ \\t]*(.*(?:\\n[ \\t]+.*)*)`, "im").exec(paragraph)?.[1]?.trim();
    if (!/^Types:.*\bdeb\b/im.test(paragraph) || field("Enabled") === "no") return [];
    const suites = (field("Suites") ?? "").split(/\s+/);
    const trusted = field("Trusted");
    const signedBy = field("Signed-By");
    const options = [trusted && `trusted=${trusted}`, signedBy?.startsWith("/") && `signed-by=${signedBy}`];
    return (field("URIs") ?? "")
      .split(/\s+/)
      .map((uri) => ({ uri, suites, options: options.filter(Boolean).join(" ") }));
  });
}

/** The machine's own apt sources: which mirror to ask is the administrator's choice, not ours. */
async function machineSources(): Promise<AptSource[]> {
  const directory = "/etc/apt/sources.list.d";
  const parts = existsSync(directory) ? (await readdir(directory)).sort().map((name) => join(directory, name)) : [];
  const sources: AptSource[] = [];
  for (const path of ["/etc/apt/sources.list", ...parts]) {
    if (!existsSync(path)) continue;
    if (path.endsWith(".sources")) sources.push(...deb822Sources(await readFile(path, "utf8")));
    else if (path.endsWith(".list")) sources.push(...oneLineSources(await readFile(path, "utf8")));
  }
  return sources;
}

/** Sources for another suite, on the mirrors that serve this machine's. Testing and sid have no security archive. */
async function sourcesFor(suite: string): Promise<string> {
  const codename = /^VERSION_CODENAME=(.*)$/m.exec(await readFile("/etc/os-release", "utf8"))?.[1];
  const sources = await machineSources();
  const main = sources.find((source) => source.suites.some((name) => name === codename));
  const security = sources.find((source) => source.suites.some((name) => name === `${codename}-security`));
  if (!main) throw new Error(`No apt source for this machine's own suite (${codename}) was found: is it a Debian?`);
  const line = ({ uri, options }: AptSource, name: string) => {
    const signed = options === "" && existsSync(keyring) ? `signed-by=${keyring}` : options;
    return `deb ${signed ? `[${signed}] ` : ""}${uri} ${name} main\n`;
  };
  return line(main, suite) + (security && suite !== "sid" ? line(security, `${suite}-security`) : "");
}

/** One field of what apt says about a package; "" where it says nothing. */
type Field = (key: string) => string;

function packageOf(name: string, field: Field): DebianPackage {
  const source = field("Built-Using").replace(/[(),=]/g, "") || field("Source");
  return { name, version: field("Version"), source: source.replace(/ +/g, " ").trim() };
}

/** Packages of one suite, kept apart from the machine's own apt in `directory`. */
export class DebianSuite {
  private readonly suite: string;
  private readonly directory: string;

  constructor(suite: string, directory: string) {
    this.suite = suite;
    this.directory = directory;
  }

  private options(): string[] {
    const path = (name: string) => join(this.directory, name);
    return [
      `-oDir::Etc::sourcelist=${path("sources.list")}`,
      "-oDir::Etc::sourceparts=-",
      "-oDir::Etc::preferencesparts=-",
      `-oDir::State::Lists=${path("lists")}`,
      "-oDir::State::status=/dev/null",
      `-oDir::Cache::archives=${path("archives")}`,
      "-oDir::Cache::pkgcache=",
      "-oDir::Cache::srcpkgcache=",
      "-oAPT::Architecture=amd64",
      "-oAPT::Sandbox::User=root",
      "-oAcquire::Languages=none",
      "-oAcquire::Check-Valid-Until=false", // sid's Release file may be past its date on a mirror
    ];
  }

  async update(): Promise<void> {
    await mkdir(join(this.directory, "lists/partial"), { recursive: true });
    await mkdir(join(this.directory, "archives/partial"), { recursive: true });
    await writeFile(join(this.directory, "sources.list"), await sourcesFor(this.suite));
    await run("apt-get", [...this.options(), "-qq", "update"]);
  }

  private async record(name: string): Promise<Field> {
    const record = (await run("apt-cache", [...this.options(), "show", "--no-all-versions", name])).toString();
    return (key) => new RegExp(`^${key}: (.*)$`, "m").exec(record)?.[1] ?? "";
  }

  async package(name: string): Promise<DebianPackage> {
    return packageOf(name, await this.record(name));
  }

  /** The packages that make up the kernel which `metapackage` stands for: one, or since 7.x image and modules apart. */
  async kernelPackages(metapackage: string): Promise<DebianPackage[]> {
    const found = new Map<string, DebianPackage>();
    const queue = [metapackage];
    for (let name = queue.shift(); name !== undefined; name = queue.shift()) {
      if (found.has(name)) continue;
      const field = await this.record(name);
      found.set(name, packageOf(name, field));
      queue.push(...(field("Depends").match(/\blinux-(?:image|binary|modules)-\d\S*amd64\b/g) ?? []));
    }
    found.delete(metapackage);
    if (found.size === 0) throw new Error(`${metapackage} of ${this.suite} names no kernel package`);
    return [...found.values()];
  }

  /** Downloads what is not there yet and returns the path of the `.deb`. */
  async download({ name, version }: DebianPackage): Promise<string> {
    const file = `${name}_${version.replace(":", "%3a")}_amd64.deb`;
    const path = join(this.directory, "archives", file);
    if (!existsSync(path))
      await run("apt-get", [...this.options(), "-qq", "download", `${name}=${version}`], {
        cwd: join(this.directory, "archives"),
      });
    await stat(path);
    return path;
  }

  async unpack(debianPackage: DebianPackage, into: string): Promise<void> {
    await run("dpkg-deb", ["-x", await this.download(debianPackage), into]);
  }

  /** Downloads packages with all that they depend on, as on a machine that has nothing yet; returns the paths. */
  async downloadWithDependencies(names: readonly string[]): Promise<string[]> {
    const install = [...this.options(), "--no-install-recommends", "-y", "install", ...names];
    const plan = (await run("apt-get", ["-s", ...install])).toString();
    await run("apt-get", ["-qq", "--download-only", ...install]);
    // Inst NAME (VERSION ARCHIVE… [ARCHITECTURE]) …
    return [...plan.matchAll(/^Inst (\S+) \((\S+) .*?\[(\w+)\]\)/gm)].map(([, name, version, architecture]) =>
      join(this.directory, "archives", `${name}_${version!.replace(":", "%3a")}_${architecture}.deb`),
    );
  }
}
