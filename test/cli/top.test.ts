import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { unpack } from "../../vmcore-fixtures/unpack.ts";

const command = join(import.meta.dirname, "../../dist/cli/main.js");
const LEAVE = "\x1b[?25h\x1b[?1049l";
let image: string;

beforeAll(async () => {
  ({ image } = await unpack());
});

interface Session {
  readonly terminal: ChildProcessWithoutNullStreams;
  /** Resolves when this was printed, after what was waited for before. */
  until(pattern: RegExp): Promise<string>;
  readonly ended: Promise<{ printed: string; code: number | null }>;
}

/**
 * `xfilter top` of the image on a terminal of its own, of 9 lines. `$$` of the shell is the command's process id. Behind the
 * command's end its exit code and the terminal's settings are printed, which have to be those of before.
 */
function top({ before = "", node = "" } = {}): Session {
  const start = `exec ${process.execPath} ${node} ${command} top ${image} --interval 1h`;
  const script = `stty rows 9 cols 70; stty -g; ${before} sh -c 'echo pid $$; ${start}'; echo code $?; stty -g`;
  const terminal = spawn("script", ["-qec", script, "/dev/null"], {
    env: { ...process.env, SHELL: "/bin/sh", TERM: "xterm" },
  });
  let printed = "";
  let seen = 0;
  let look = () => {};
  for (const stream of [terminal.stdout, terminal.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      printed += text;
      look();
    });
  }
  const ended = new Promise<{ printed: string; code: number | null }>((resolve, reject) => {
    terminal.once("error", reject).once("close", (code) => resolve({ printed, code }));
  });
  const until = (pattern: RegExp) =>
    new Promise<string>((resolve, reject) => {
      look = () => {
        const [match] = pattern.exec(printed.slice(seen)) ?? [];
        if (match === undefined) return;
        seen += printed.slice(seen).indexOf(match) + match.length;
        resolve(match);
      };
      look();
      void ended.then(() => reject(new Error(`ended before ${pattern}: ${JSON.stringify(printed)}`)));
    });
  return { terminal, until, ended };
}

/** A frame of the screen, whole. */
const FRAME = /\x1b\[H.*?\x1b\[J/s;

/** What was printed behind the last frame, where the terminal was left as it was found. */
async function left({ ended }: Session): Promise<string> {
  const { printed } = await ended;
  const settings = printed.match(/^[0-9a-f]+(:[0-9a-f]+){10,}/gm);
  expect(settings).toHaveLength(2);
  expect(settings![0]).toBe(settings![1]);
  expect(printed.split(LEAVE)).toHaveLength(2);
  return printed.split(LEAVE)[1]!;
}

async function pid({ until }: Session): Promise<number> {
  return Number(/\d+/.exec(await until(/pid \d+/))![0]);
}

describe("xfilter top on a terminal", () => {
  it("ends with q", async () => {
    const session = top();
    await session.until(FRAME);
    session.terminal.stdin.write("q");
    expect(await left(session)).toMatch(/^code 0\r\n/);
  });
  it.each([
    ["Ctrl-C", "\x03", 130],
    ["Ctrl-\\", "\x1c", 131],
  ])("ends with %s as by its signal", async (_, key, code) => {
    const session = top();
    await session.until(FRAME);
    session.terminal.stdin.write(key);
    expect(await left(session)).toMatch(new RegExp(`^code ${code}\r\n`));
  });
  it.each([
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ] as const)("leaves the terminal as it was when %s ends it", async (signal, code) => {
    const session = top();
    const process_ = await pid(session);
    await session.until(FRAME);
    process.kill(process_, signal);
    expect(await left(session)).toMatch(new RegExp(`^code ${code}\r\n`));
  });
  it("leaves the terminal before it tells of an exception", async () => {
    const thrower = `data:text/javascript,process.on("SIGUSR2",()=>{throw%20new%20Error("thrown")})`;
    const session = top({ node: `--import "${thrower.replaceAll('"', '\\"')}"` });
    const process_ = await pid(session);
    await session.until(FRAME);
    process.kill(process_, "SIGUSR2");
    expect(await left(session)).toMatch(/Error: thrown.*^code [1-9]/ms);
  });
  it("says how many processes it has no room for", async () => {
    const session = top();
    const lines = (await session.until(FRAME)).split("\r\n");
    session.terminal.stdin.write("q");
    await session.ended;
    expect(lines).toHaveLength(9);
    expect(lines.at(-1)).toMatch(/… and \d+ more/);
  });
  it("draws anew when the terminal's size changes, without waiting for the next poll", async () => {
    const session = top({ before: "(read line < /dev/tty; stty rows 20 cols 50 < /dev/tty) &" });
    await session.until(FRAME);
    session.terminal.stdin.write("\n");
    const lines = (await session.until(FRAME)).split("\r\n");
    session.terminal.stdin.write("q");
    await session.ended;
    expect(lines).toHaveLength(20);
  });
  it("does not take a function key for a letter", async () => {
    const session = top();
    await session.until(FRAME);
    session.terminal.stdin.write("\x1bOQ");
    setTimeout(() => session.terminal.stdin.write("\x03"), 100);
    expect(await left(session)).toMatch(/^code 130\r\n/);
  });
});
