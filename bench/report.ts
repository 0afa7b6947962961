import { cpus, loadavg } from "node:os";
import type { Measurement } from "./measure.ts";

/** Bytes resident: the process's own, V8's part of that, and all with the pages of mapped files. */
export interface Resident {
  readonly own: number;
  readonly v8: number;
  readonly all: number;
}

/** What a process of 10,000 walks held: an empty Node, after a tenth of the walks, at the end. */
export interface Soak {
  readonly image: string;
  readonly walks: number;
  readonly sockets: number;
  readonly empty: Resident;
  readonly early: Resident;
  readonly late: Resident;
}

/** Of a table in Markdown. */
export const row = (cells: readonly (string | number)[]) => `| ${cells.join(" | ")} |`;
export const head = (cells: readonly string[]) => [row(cells), row(cells.map((_, i) => (i === 0 ? "---" : "---:")))];

const HEAD = ["what", "median ms", "min", "lower quartile", "upper quartile", "max", "runs"] as const;

function cells({ what, median, min, lower, upper, max, runs }: Measurement): string[] {
  return [what, ...[median, min, lower, upper, max].map((ms) => ms.toFixed(3)), String(runs)];
}

/** Where and under what load it was measured: figures of a busy machine say little. */
export function conditions(): string {
  const load = loadavg().map((value) => value.toFixed(1));
  return `${cpus().length} CPUs (${cpus()[0]?.model ?? "unknown"}), Node ${process.version}, load average ${load.join(", ")}`;
}

function byImage(measurements: readonly Measurement[]): Map<string, Measurement[]> {
  const groups = new Map<string, Measurement[]>();
  for (const measurement of measurements) {
    groups.set(measurement.image, [...(groups.get(measurement.image) ?? []), measurement]);
  }
  return groups;
}

const mebibytes = (bytes: number) => (bytes / 2 ** 20).toFixed(1);

export function soakSentence({ image, walks, sockets, empty, early, late }: Soak): string {
  const over = (bytes: (resident: Resident) => number) =>
    `${mebibytes(bytes(early) - bytes(empty))} MiB after a tenth of them, ${mebibytes(bytes(late) - bytes(empty))} MiB at the end`;
  return (
    `${image}, ${walks} walks of ${sockets} sockets: resident over Node's own ${mebibytes(empty.own)} MiB: ${over(({ own }) => own)}. ` +
    `Of it outside V8's heap and array buffers: ${over(({ own, v8 }) => own - v8)}. ` +
    `With mapped files, the image's pages among them, over Node's ${mebibytes(empty.all)} MiB: ${over(({ all }) => all)}.`
  );
}

export function table(measurements: readonly Measurement[]): string {
  const width = Math.max(...measurements.map(({ what }) => what.length));
  const line = ([what, ...numbers]: readonly string[]) =>
    `  ${what!.padEnd(width)} ${numbers.map((text) => text.padStart(15)).join("")}`;
  const parts = [...byImage(measurements)].map(([image, rows]) =>
    [image, line(HEAD), ...rows.map((row) => line(cells(row)))].join("\n"),
  );
  return parts.join("\n\n");
}

export function markdown(measurements: readonly Measurement[], soaks: readonly Soak[], about: string): string {
  const parts = [...byImage(measurements)].map(([image, rows]) =>
    [`## ${image}`, "", ...head(HEAD), ...rows.map((m) => row(cells(m)))].join("\n"),
  );
  const memory = soaks.length > 0 ? [`## Memory\n\n${soaks.map(soakSentence).join("\n\n")}`] : [];
  return `${["# Measured", `Written by \`npm run bench\`: ${about}.`, ...parts, ...memory].join("\n\n")}\n`;
}

const SVG_BAR = { left: 380, width: 420, height: 18, gap: 6 };

/** Medians as bars on a logarithmic scale, with the quartiles as a line over each. */
export function svg(measurements: readonly Measurement[], about: string): string {
  const { left, width, height, gap } = SVG_BAR;
  const least = Math.min(...measurements.map(({ lower }) => lower));
  const most = Math.max(...measurements.map(({ upper }) => upper));
  const from = Math.floor(Math.log10(least));
  const to = Math.max(from + 1, Math.ceil(Math.log10(most)));
  const x = (ms: number) => left + (width * (Math.log10(ms) - from)) / (to - from);
  const parts: string[] = [];
  let y = 40;
  for (const [image, rows] of byImage(measurements)) {
    parts.push(text(10, y + 14, image, 'font-weight="bold"'));
    y += height + gap;
    for (const { what, median, lower, upper } of rows) {
      const middle = y + height / 2;
      parts.push(
        text(20, y + 13, what),
        `<rect x="${left}" y="${y}" width="${(x(median) - left).toFixed(1)}" height="${height}" fill="#4878a8"/>`,
        `<path d="M${x(lower).toFixed(1)} ${middle}H${x(upper).toFixed(1)}" stroke="#202020" stroke-width="2"/>`,
        text(left + width + 10, y + 13, `${median.toPrecision(3)} ms`),
      );
      y += height + gap;
    }
  }
  for (let power = from; power <= to; power++) {
    const at = x(10 ** power).toFixed(1);
    parts.push(
      `<path d="M${at} 34V${y}" stroke="#c0c0c0" stroke-dasharray="2 3"/>`,
      text(Number(at) - 12, 30, `${10 ** power}`),
    );
  }
  parts.push(text(10, 14, `Medians in ms, logarithmic; the line is the middle half of the runs. ${about}`));
  const size = `width="${left + width + 100}" height="${y + 10}"`;
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size} font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n${parts.join("\n")}\n</svg>\n`;
}

function text(x: number, y: number, content: string, attributes = ""): string {
  const escaped = content.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<text x="${x}" y="${y}" ${attributes}>${escaped}</text>`;
}
