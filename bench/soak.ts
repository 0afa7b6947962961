// 10,000 walks in a process of their own, and what they leave resident: `node --import tsx bench/soak.ts IMAGE [WALKS]`.
// Prints one JSON line. `own` is what the process itself holds (RssAnon), and of that `v8` its heap and array buffers, with
// the garbage that waits there: V8 doubles the room for new objects, up to 2 x 16 MiB, as those that outlived a collection
// add up, however few live at a time. `all` also has the pages of mapped files, the image's among them, which belong to
// the page cache and go when somebody else needs the room.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { introspect } from "../lib/index.ts";
import type { Resident } from "./report.ts";

function resident(): Resident {
  const status = readFileSync("/proc/self/status", "utf8");
  const bytes = (name: string) => 1024 * Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status)?.[1]);
  const { heapTotal, arrayBuffers } = process.memoryUsage();
  return { own: bytes("RssAnon"), v8: heapTotal + arrayBuffers, all: bytes("VmRSS") };
}

const [image, walks = "10000"] = process.argv.slice(2);
if (image === "--empty") {
  console.log(JSON.stringify(resident()));
} else if (image === undefined) {
  throw new RangeError("usage: soak.ts IMAGE [WALKS]");
} else {
  const empty = spawnSync(process.execPath, [...process.execArgv, import.meta.filename, "--empty"], {
    encoding: "utf8",
  });
  const guest = await introspect({ vmcore: image });
  let early = resident();
  let sockets = 0;
  const total = Number(walks);
  for (let walk = 1; walk <= total; walk++) {
    sockets = (await guest.snapshot()).sockets.length;
    if (walk === Math.ceil(total / 10)) early = resident();
  }
  const late = resident();
  await guest.close();
  console.log(JSON.stringify({ walks: total, sockets, empty: JSON.parse(empty.stdout), early, late }));
}
