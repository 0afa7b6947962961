// Running guests to try the filter on, as root: two of Linux 6.1 with the same addresses and users, in a network of their own
// (test/filter/in-namespace.sh), in which somebody answers to ssh and http. Until Ctrl-C it shows who gets through. As the
// fixtures do, it takes the kernel from Debian's mirror: vmcore-fixtures/README.md.
import { setTimeout as sleep } from "node:timers/promises";
import { alice, type LabGuest, mallory, startLab, type Talker } from "../vmcore-fixtures/lab.ts";

const EVERY_MS = 2_000;
const WIDTH = 14;
const stop = new AbortController();
const { signal } = stop;
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(name, () => stop.abort());

/** What a user opens again and again, and what became of it until now. */
class Column {
  readonly title: string;
  readonly #talker: Talker;
  readonly #port: number;
  #done = 0;
  #failed = 0;

  constructor(title: string, talker: Talker, port: number) {
    this.title = title;
    this.#talker = talker;
    this.#port = port;
  }

  /** What became of it since the last look. */
  async next(): Promise<string> {
    const { opened } = await this.#talker.report();
    const { done, failed } = opened.find(({ port }) => port === this.#port)!;
    const [got, lost] = [done - this.#done, failed - this.#failed];
    this.#done = done;
    this.#failed = failed;
    return lost > 0 ? `${got} (${lost} failed)` : String(got);
  }
}

async function columnsOf(letter: string, guest: LabGuest): Promise<Column[]> {
  const columns: Column[] = [];
  for (const [user, uid] of [
    ["alice", alice],
    ["mallory", mallory],
  ] as const) {
    const talker = await guest.talk({
      uid,
      comm: user,
      open: ["tcp4:22", "tcp4:80"],
      every: 100,
      renew: 500,
      patience: 3_000,
    });
    columns.push(new Column(`${letter} ${user}:22`, talker, 22), new Column(`${letter} ${user}:80`, talker, 80));
  }
  return columns;
}

try {
  console.log("Booting two guests in QEMU: half a minute, and some more the first time …");
  const lab = await startLab({ signal });
  try {
    const { pid } = lab.a.live;
    // With its mounts, too: /sys shows the devices of that network there.
    const enter = `nsenter --target ${pid} --net --mount --wd npx xfilter`;
    console.log(`
Guests a and b run until Ctrl-C. In another terminal, as root, in the checkout, for instance, of guest a:

    ${enter} ss qemu:pid:${pid}
    ${enter} block qemu:pid:${pid} --uid ${mallory} --remote-port 22 --direction out
    ${enter} status

(\`block\` until Ctrl-C; \`filter\` with \`--rules vm1.rules\` does the same, \`--backend dry-run\` only shows it.)

Connections of alice (uid ${alice}) and mallory (uid ${mallory}) in each two seconds, to ports 22 and 80:
`);
    const columns = [...(await columnsOf("a", lab.a)), ...(await columnsOf("b", lab.b))];
    const line = (cells: readonly string[]) =>
      console.log(
        cells
          .map((cell) => cell.padEnd(WIDTH))
          .join(" ")
          .trimEnd(),
      );
    line(columns.map(({ title }) => title));
    while (!signal.aborted) {
      await sleep(EVERY_MS, undefined, { signal });
      const cells: string[] = [];
      for (const column of columns) cells.push(await column.next());
      line(cells);
    }
  } finally {
    await lab.close();
  }
} catch (error) {
  if (!signal.aborted) throw error;
}
