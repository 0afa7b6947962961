/** As `xl list` shows it. */
export interface ListedDomain {
  /** `(null)`: it has ended, and somebody still holds pages of it. */
  readonly name: string;
  readonly id: number;
  readonly megabytes: number;
  /** Running, blocked, paused, shut down, crashed, dying: a letter each, or "-". */
  readonly state: string;
}

/** What `xl list` prints, without Dom0. */
export function parseList(text: string): ListedDomain[] {
  const [, , ...lines] = text.trimEnd().split("\n");
  return lines.map((line) => {
    const [, name, id, megabytes, state] = /^(\S+) +(\d+) +(\d+) +\d+ +(\S+)/.exec(line)!;
    return { name: name!, id: Number(id), megabytes: Number(megabytes), state: state! };
  });
}
