import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { ProgramInFront } from "./program-in-front.ts";

/** Where it is told to, it hands on the half of a change, and fails. */
export class BrokenProgram extends ProgramInFront {
  /** `changes`: an argument that it has where it changes something. */
  constructor(name: string, changes: string) {
    super(
      name,
      `case " $* " in *" ${changes} "*) ;; *) exec $own "$@" ;; esac
      for failure in "$(dirname "$0")"/failure.*; do
        rm "$failure" 2> /dev/null || break
        bytes=$(tee "$0.input" | wc -c)
        head -c $((bytes / 2)) "$0.input" | $own "$@"
        exit 1
      done
      exec $own "$@"`,
    );
  }

  /** The next change fails, and, of two attempts, what a backend tries in its place, as somebody may have changed what it saw. */
  break(attempts: 1 | 2 = 2): void {
    for (let attempt = 1; attempt <= attempts; attempt++) writeFileSync(join(this.folder, `failure.${attempt}`), "");
  }
}
