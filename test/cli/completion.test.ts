import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

// Each shell reads the script and completes lines by it.

const command = join(import.meta.dirname, "../../dist/cli/main.js");
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "xfilter-completion-"));
  writeFileSync(join(folder, "a memory.elf"), "");
  for (const shell of ["bash", "zsh", "fish"])
    writeFileSync(join(folder, shell), execFileSync(process.execPath, [command, "completion", shell]));
});

afterAll(() => rmSync(folder, { recursive: true }));

/** Words before the cursor, the word at it, and what it is completed to, if there is one way. */
const LINES: readonly (readonly [before: string, word: string, completed: string])[] = [
  ["xfilter", "fil", "filter"],
  ["xfilter", "--vers", "--version"],
  ["xfilter filter", "--on-u", "--on-unreadable"],
  ["xfilter filter --backend", "iptables-l", "iptables-legacy"],
  ["xfilter block --comm ps", "--remote-p", "--remote-port"],
  ["xfilter rules", "ch", "check"],
  ["xfilter rules check", "--js", "--json"],
  ["xfilter completion", "z", "zsh"],
  ["xfilter ps", "a", "a memory.elf"],
];

const shell = (program: string, ...words: string[]) =>
  execFileSync(program, words, { cwd: folder, encoding: "utf8", env: { PATH: process.env.PATH, TERM: "dumb" } });

function isInstalled(program: string): boolean {
  try {
    return shell(program, "-c", "echo here") === "here\n";
  } catch {
    return false;
  }
}

describe.runIf(isInstalled("bash"))("bash", () => {
  const complete = (...words: string[]) => {
    const script =
      // biome-ignore lint/suspicious/noTemplateCurlyInString: bash's
      'source ./bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _xfilter; for ((i = 0; i < ${#COMPREPLY[@]}; i++)); do echo "${COMPREPLY[i]}"; done';
    return shell("bash", "--norc", "-c", script, "bash", ...words)
      .split("\n")
      .filter(Boolean);
  };
  it.each(LINES)("completes %s %s to %s", (before, word, completed) => {
    expect(complete(...before.split(" "), word)).toEqual([completed]);
  });
  it("completes what stands behind an equals sign, which it sees as a word", () => {
    expect(complete("xfilter", "filter", "--hold", "=", "a")).toEqual(["apply"]);
    expect(complete("xfilter", "filter", "--hold", "=")).toEqual(["walk", "apply"]);
  });
  it("offers nothing for a value that nobody can guess", () => {
    expect(complete("xfilter", "filter", "--interval", "")).toEqual([]);
  });
  it("does so by itself at a Tab", () => {
    expect(shell("bash", "--norc", "-c", "source ./bash; complete -p xfilter")).toBe("complete -F _xfilter xfilter\n");
  });
});

describe.runIf(isInstalled("fish"))("fish", () => {
  it.each(LINES)("completes %s %s to %s", (before, word, completed) => {
    const [found, ...others] = shell("fish", "--no-config", "-c", `source ./fish; complete -C '${before} ${word}'`)
      .trim()
      .split("\n");
    expect(found!.split("\t")[0]!.replaceAll("\\", "")).toBe(completed);
    expect(others).toEqual([]);
  });
});

describe.runIf(isInstalled("zsh"))("zsh", () => {
  // A zsh at a terminal of its own; ^X prints the line as it stands by then.
  const SCRIPT = `
    zmodload zsh/zpty
    zpty z zsh -f -i
    zpty -w z 'show() { print -r -- "@$BUFFER@" }; zle -N show; bindkey "^X" show'
    zpty -w z 'autoload -U compinit; compinit -u -D; source ./zsh; print rea""dy'
    zpty -r z out '*ready*'
    zpty -w -n z "$1"$'\\t\\x18'
    zpty -r z out '*@xfilter*@*'
    print -r -- "xfilter\${\${out#*@xfilter}%%@*}"`;
  it.each(LINES)("completes %s %s to %s", (before, word, completed) => {
    const line = shell("zsh", "-f", "-c", SCRIPT, "zsh", `${before} ${word}`).trim();
    // Of an option that takes a value, = is offered, until a space is typed.
    expect(line.replace(/=$/, "").replaceAll("\\", "")).toBe(`${before} ${completed}`);
  });
});
