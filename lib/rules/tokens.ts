/** @internal A piece of a rule's text. */
export interface Token {
  readonly kind: "word" | "text" | "comma" | "end";
  /** Of a quoted text, what it stands for. */
  readonly value: string;
  /** Counted from 1, in characters. */
  readonly column: number;
}

/** @internal What a rule's text is made of, and the comment behind it. Throws what is wrong, with its column. */
export function tokenize(line: string, fail: (column: number, what: string) => never): [Token[], string | undefined] {
  const tokens: Token[] = [];
  let at = 0;
  while (at < line.length) {
    const rest = line.slice(at);
    const column = at + 1;
    const space = /^\s+/.exec(rest)?.[0];
    const comment = /^\/\/(.*)$/s.exec(rest);
    if (comment) return [[...tokens, { kind: "end", value: "", column }], comment[1]!.trim()];
    const [quoted] = /^"(?:[^"\\]|\\.)*"/.exec(rest) ?? [];
    const [word] = /^[^\s,"]+/.exec(rest) ?? [];
    if (rest.startsWith(",")) tokens.push({ kind: "comma", value: ",", column });
    else if (quoted) tokens.push({ kind: "text", value: unquoted(quoted, column, fail), column });
    else if (word) tokens.push({ kind: "word", value: word, column });
    else if (!space) fail(column, "a quoted text that ends is expected");
    at += (space ?? quoted ?? word ?? ",").length;
  }
  return [[...tokens, { kind: "end", value: "", column: line.length + 1 }], undefined];
}

function unquoted(quoted: string, column: number, fail: (column: number, what: string) => never): string {
  try {
    return JSON.parse(quoted) as string;
  } catch {
    return fail(column, "a text in quotes is expected, with escapes as in JSON");
  }
}

/** @internal As it is where it reads back as one word, else in quotes. */
export function quote(text: string): string {
  return /^[A-Za-z0-9_.:+@*/-]+$/.test(text) && !text.startsWith("//") ? text : JSON.stringify(text);
}
