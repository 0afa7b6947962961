import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { expect, it } from "vitest";

const program = join(import.meta.dirname, "../../../lib/backends/program.ts");

it("a program that is not there keeps nobody from ending", () => {
  const script = `
    import { runProgram } from ${JSON.stringify(program)};
    const none = { name: "xfilter-test-nowhere", package: "none", look: "none" };
    const error = await runProgram(none, [], null, new AbortController().signal).catch((error) => error);
    console.log(error.code, process.getActiveResourcesInfo().filter((name) => name === "Timeout").length);
  `;
  const node = [process.execPath, "--import", "tsx", "--input-type=module", "-e", script] as const;
  expect(execFileSync(node[0], node.slice(1), { encoding: "utf8" })).toBe("BACKEND_NOT_FOUND 0\n");
});
