import { execFileSync } from "node:child_process";
import { introspect } from "xfilter-core";
import { program } from "./program.ts";

const codeOf = (target: string) =>
  introspect(target).then(
    () => "attached",
    ({ code }) => code as string,
  );
const asNobody = (target: string) => `
  import { introspect } from "xfilter-core";
  console.log(await introspect(${JSON.stringify(target)}).then(() => "attached", ({ code }) => code));`;

await program(async (name: string) => {
  const words = ["--reuid=65534", "--regid=65534", "--clear-groups", process.execPath, "--input-type=module", "-e"];
  const nobody = execFileSync("setpriv", [...words, asNobody(`xen:${name}`)], { cwd: "/share", encoding: "utf8" });
  return {
    name: await codeOf("xen:nobody-is-called-so"),
    id: await codeOf("xen:30000"),
    dom0: await codeOf("xen:Domain-0"),
    nobody: nobody.trim(),
  };
});
