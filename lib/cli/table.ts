import stringWidth from "string-width";

/** A column of a table without borders. */
export interface Column {
  readonly title: string;
  /** Numbers stand right. Default: left. */
  readonly align?: "left" | "right";
  /** May be narrowed when the terminal is too narrow; the last flexible column first. */
  readonly flexible?: boolean;
  /** Characters that a flexible column keeps. Default: 12. */
  readonly minimum?: number;
  /** Shortens a cell to a width. Default: at its end. */
  readonly shorten?: (text: string, width: number) => string;
  /**
   * Of the last column: it goes on below rather than being cut, and where even that would cut other columns, it
   * has lines of its own.
   */
  readonly wraps?: boolean;
  /** Goes with the last column where that has lines of its own. */
  readonly yields?: boolean;
}

/** Printable text, or words that may stand on lines of their own in a column that wraps. */
export type Cell = string | readonly string[];

const GAP = "  ";
const MINIMUM = 12;
/** What a flexible column keeps when the terminal is too narrow for the minimum of each. */
const LEAST = 9;
/** In front of a last column that has lines of its own. */
const INDENT = "    ";

/**
 * The rows of a table, the header first, each of one or more lines. Cells are printable text already.
 *
 * @param width - columns of the terminal to fit in; without it nothing is cut or wrapped
 */
export function formatTable(
  columns: readonly Column[],
  rows: readonly (readonly Cell[])[],
  width?: number,
): readonly (readonly string[])[] {
  const all = [columns.map(({ title }) => title), ...rows];
  const natural = columns.map((_, i) =>
    all.reduce((widest, cells) => Math.max(widest, stringWidth(text(cells[i]!))), 0),
  );
  if (width === undefined) return all.map((cells) => [joinCells(columns, cells, natural)]);
  const widths = narrow(columns, natural, width, MINIMUM);
  if (!columns.at(-1)?.wraps) return all.map((cells) => [shortenEnd(joinCells(columns, cells, widths), width)]);
  if (total(widths) <= width) return all.map((cells) => wrapBeside(columns, cells, widths));
  const split = columns.findIndex((column) => column.yields || column.wraps);
  const others = columns.slice(0, split).map((column) => ({ ...column, minimum: LEAST }));
  const otherWidths = narrow(others, natural.slice(0, split), width, LEAST);
  return all.map((cells) => [
    shortenEnd(joinCells(others, cells, otherWidths), width),
    ...wrap(cells.slice(split).flat(), width - INDENT.length).map((line) => INDENT + line),
  ]);
}

function text(cell: Cell): string {
  return typeof cell === "string" ? cell : cell.join(" ");
}

function total(widths: readonly number[]): number {
  return widths.reduce((sum, each) => sum + each + GAP.length, -GAP.length);
}

/** Takes what is too much from the column that wraps, which loses nothing by it, then from the widest flexible ones. */
function narrow(columns: readonly Column[], natural: readonly number[], width: number, minimum: number): number[] {
  const widths = [...natural];
  let excess = total(widths) - width;
  const spare = (i: number) => (columns[i]!.flexible ? widths[i]! - (columns[i]!.minimum ?? minimum) : 0);
  if (columns.at(-1)?.wraps) {
    const taken = Math.min(Math.max(0, excess), Math.max(0, spare(columns.length - 1)));
    widths[columns.length - 1]! -= taken;
    excess -= taken;
  }
  for (; excess > 0; excess--) {
    let widest = -1;
    widths.forEach((each, i) => {
      if (spare(i) > 0 && each >= (widths[widest] ?? 0)) widest = i;
    });
    if (widest < 0) break;
    widths[widest]! -= 1;
  }
  return widths;
}

/** One line. A cell that is wider than its column is shortened. */
function joinCells(columns: readonly Column[], cells: readonly Cell[], widths: readonly number[]): string {
  return columns
    .map(({ align, shorten = shortenEnd }, i) => {
      const whole = text(cells[i]!);
      const shown = stringWidth(whole) <= widths[i]! ? whole : shorten(whole, widths[i]!);
      return pad(shown, widths[i]!, align);
    })
    .join(GAP)
    .trimEnd();
}

/** The last cell goes on below itself. */
function wrapBeside(columns: readonly Column[], cells: readonly Cell[], widths: readonly number[]): string[] {
  const [first = "", ...more] = wrap(cells.at(-1)!, widths.at(-1)!);
  const indent = " ".repeat(total(widths) - widths.at(-1)!);
  return [joinCells(columns, [...cells.slice(0, -1), first], widths), ...more.map((line) => indent + line)];
}

/** Lines of at most `width`, broken between words; in a word only when it is wider than a line. */
function wrap(cell: Cell, width: number): string[] {
  const lines: string[] = [];
  for (const word of typeof cell === "string" ? [cell] : cell) {
    const joined = lines.length > 0 ? `${lines.at(-1)} ${word}` : word;
    if (lines.length > 0 && stringWidth(joined) <= width) lines[lines.length - 1] = joined;
    else lines.push(...breakWord(word, width));
  }
  return lines;
}

function breakWord(word: string, width: number): string[] {
  if (stringWidth(word) <= width) return [word];
  const pieces = [""];
  for (const { segment } of segmenter.segment(word)) {
    const piece = pieces.at(-1)!;
    if (piece === "" || stringWidth(piece + segment) <= width) pieces[pieces.length - 1] = piece + segment;
    else pieces.push(segment);
  }
  return pieces;
}

/** The text in at most `width` terminal columns, with an ellipsis when something is gone. */
export function shortenEnd(text: string, width: number): string {
  if (stringWidth(text) <= width) return text;
  return `${breakWord(text, width - 1)[0]}…`;
}

const segmenter = new Intl.Segmenter();

function pad(text: string, width: number, align: Column["align"]): string {
  const fill = " ".repeat(Math.max(0, width - stringWidth(text)));
  return align === "right" ? fill + text : text + fill;
}
