import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { expect, it } from "vitest";

const root = join(import.meta.dirname, "../..");

it("npm run demo shows kernel, processes, sockets, and what the rule would put in force for whom", () => {
  const [tsx, demo] = ["node_modules/.bin/tsx", "scripts/demo.ts"].map((path) => join(root, path));
  const shown = execFileSync(tsx!, [demo!], { encoding: "utf8" });
  for (const command of ["info", "ps", "ss", "plan"]) expect(shown).toContain(`$ npx xfilter ${command} `);
  const [, planned] = /^\$ npx xfilter plan .*\n\n((?:.+\n)+)/m.exec(shown)!;
  const by = 'by "deny tcp from any to any 22 out uid 1003"';
  expect(planned!.trimEnd().split("\n")).toEqual([
    `drop out tcp 10.0.2.15:40022 192.0.2.22:22 of 90/ssh uid 1003 ${by}`,
    `drop out tcp6 [2001:db8::15]:40022 [2001:db8:22::22]:22 of 90/ssh uid 1003 ${by}`,
  ]);
});
