import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

const path = join(import.meta.dirname, "../../dist/xfilter.1");
const main = join(import.meta.dirname, "../../dist/cli/main.js");
const page = readFileSync(path, "utf8").replaceAll("\\-", "-");

const help = (...words: string[]) => execFileSync(process.execPath, [main, ...words, "--help"], { encoding: "utf8" });

/** Names of the commands in a help's list. */
function commandsOf(text: string): string[] {
  const [, list = ""] = text.split("Commands:\n");
  return Array.from(list.matchAll(/^ {2}([a-z]+) /gm), ([, name]) => name!).filter((name) => name !== "help");
}

const isInstalled = (program: string) => spawnSync(program, ["-V"]).error === undefined;

describe("the manual page", () => {
  const commands = commandsOf(help()).flatMap((name) => {
    const below = commandsOf(help(name));
    return below.length === 0 ? [[name]] : below.map((child) => [name, child]);
  });

  it("tells of every command", () => {
    expect(commands.length).toBeGreaterThan(11);
    for (const words of commands) expect(page).toMatch(new RegExp(`^\\.Ss ${words.join(" ")}( |$)`, "m"));
  });

  it.each(commands.map((words) => ({ words, name: words.join(" ") })))(
    "tells of every option of $name",
    ({ words }) => {
      const [, own] = page.split(new RegExp(`^\\.Ss ${words.join(" ")}\\b.*\\n`, "m"));
      const told = `${page.split(".Sh COMMANDS")[0]}${own!.split(/^\.S[sh] /m)[0]}`;
      const options = Array.from(help(...words).matchAll(/^ {2}(?:-\w, )?--([a-z-]+)/gm), ([, name]) => name!);
      expect(options).toContain("help");
      for (const name of options) expect(told).toMatch(new RegExp(`Fl -${name}\\b`));
    },
  );

  it.runIf(isInstalled("mandoc"))("is a page without a fault, as mandoc sees it", () => {
    expect(spawnSync("mandoc", ["-Tlint", "-Wwarning", path], { encoding: "utf8" })).toMatchObject({
      stdout: "",
      status: 0,
    });
  });

  it.runIf(isInstalled("groff"))("is a page without a fault, as groff sees it", () => {
    const { stderr, stdout } = spawnSync("groff", ["-mdoc", "-Tutf8", "-ww", path], { encoding: "utf8" });
    expect(stderr).toBe("");
    expect(stdout).toContain("XFILTER(1)");
  });
});
