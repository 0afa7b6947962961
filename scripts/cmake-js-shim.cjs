#!/usr/bin/env node
// prebuildify speaks node-gyp: `rebuild --target=20.19.0 --arch=x64 …`. To cmake-js `--target` is the name of a CMake
// target, and Node's version does not matter to a Node-API addon: only --arch and --debug are passed on.
// `build`, not `rebuild`: what is compiled already is compiled from these sources.
const { spawnSync } = require("node:child_process");
const { availableParallelism } = require("node:os");

const kept = process.argv.slice(2).filter((argument) => /^--(arch=|debug$)/.test(argument));
const cmakeJs = require.resolve("cmake-js/bin/cmake-js");
const result = spawnSync(process.execPath, [cmakeJs, "build", "--parallel", String(availableParallelism()), ...kept], {
  stdio: "inherit",
});
process.exit(result.status ?? 1);
