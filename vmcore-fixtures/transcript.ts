/** What guest/record.c wrote: the guest's own words, not yet made sense of. The format is described there. */
export interface Transcript {
  /** Files of /proc by path; binary, as a process may call itself anything. */
  readonly files: Map<string, Buffer>;
  readonly links: Map<string, string>;
  /** The kernel's answers about sockets, by inode. */
  readonly answers: Map<number, Map<string, string>>;
  /** What the workload declared of sockets that nobody holds: guest/unheld.c. */
  readonly unheld: Map<string, string>[];
  /** Inodes of descriptors that pidfd_getfd did not give out: of processes without leader, or of one thread's table. */
  readonly unreachable: Set<number>;
  /** Network namespace → table → text. */
  readonly networks: Map<number, Map<string, string>>;
  /** pid → comm, after everything else. */
  readonly last: Map<number, Buffer>;
}

const pairs = (words: readonly string[]) => new Map(words.map((pair) => pair.split("=", 2) as [string, string]));

export function readTranscript(bytes: Buffer): Transcript {
  const transcript: Transcript = {
    files: new Map(),
    links: new Map(),
    answers: new Map(),
    unheld: [],
    unreachable: new Set(),
    networks: new Map(),
    last: new Map(),
  };
  let network: Map<string, string> | null = null;
  for (let offset = 0; offset < bytes.length; ) {
    const newline = bytes.indexOf(10, offset);
    const [word = "", ...rest] = bytes.toString("latin1", offset, newline).split(" ");
    const [first = "", second = "", third = ""] = rest;
    offset = newline + 1;
    switch (word) {
      case "file": {
        const content = bytes.subarray(offset, offset + Number(second));
        offset += content.length + 1;
        if (network) network.set(first.slice(first.lastIndexOf("/") + 1), content.toString("latin1"));
        else transcript.files.set(first, content);
        break;
      }
      case "link":
        transcript.links.set(first, second);
        break;
      case "socket": {
        const answers = pairs(rest.slice(2));
        transcript.answers.set(Number(answers.get("inode")), answers);
        break;
      }
      case "unheld":
        transcript.unheld.push(pairs(rest));
        break;
      case "unreachable":
        transcript.unreachable.add(Number(third));
        break;
      case "network":
        network = new Map();
        transcript.networks.set(Number(first), network);
        break;
      case "last":
        transcript.last.set(Number(first), Buffer.from(second, "hex"));
        break;
      default:
        network = null; // "end of network", "end"
    }
  }
  return transcript;
}
