import stringWidth from "string-width";

/** A column of a table without borders. */
export interface Column {
  readonly title: string;
  /** Numbers stand right. Default: left. */
  readonly align?: "left" | "right";
  /** May be cut when the terminal is too narrow; the last flexible column first. */
  readonly flexible?: boolean;
}

const GAP = "  ";
const MIN_FLEXIBLE = 12;

/**
 * Lines of a table, the header first. Cells are printable text already.
 *
 * @param width - columns of the terminal to fit in; without it nothing is cut
 */
export function formatTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  width?: number,
): string[] {
  const all = [columns.map(({ title }) => title), ...rows];
  const widths = columns.map((_, i) => all.reduce((widest, cells) => Math.max(widest, stringWidth(cells[i]!)), 0));
  if (width !== undefined) fit(columns, widths, width);
  return all.map((cells) => {
    const line = columns.map(({ align }, i) => pad(cut(cells[i]!, widths[i]!), widths[i]!, align)).join(GAP);
    return width === undefined ? line.trimEnd() : cut(line.trimEnd(), width);
  });
}

/** Takes what is too much from the flexible columns, the last one first. */
function fit(columns: readonly Column[], widths: number[], width: number): void {
  let excess = widths.reduce((sum, each) => sum + each + GAP.length, -GAP.length) - width;
  for (let i = columns.length - 1; i >= 0 && excess > 0; i--) {
    if (!columns[i]!.flexible) continue;
    const taken = Math.min(excess, Math.max(0, widths[i]! - MIN_FLEXIBLE));
    widths[i]! -= taken;
    excess -= taken;
  }
}

/** The text in at most `width` terminal columns, with an ellipsis when something is gone. */
function cut(text: string, width: number): string {
  if (stringWidth(text) <= width) return text;
  let kept = "";
  for (const { segment } of segmenter.segment(text)) {
    if (stringWidth(kept + segment) > width - 1) break;
    kept += segment;
  }
  return `${kept}…`;
}

const segmenter = new Intl.Segmenter();

function pad(text: string, width: number, align: Column["align"]): string {
  const fill = " ".repeat(Math.max(0, width - stringWidth(text)));
  return align === "right" ? fill + text : text + fill;
}
