import type { Quality } from "../index.ts";

const LOSSES: readonly { key: "badPointers" | "torn" | "abandoned" | "limited"; one: string; many: string }[] = [
  { key: "badPointers", one: "unreadable object", many: "unreadable objects" },
  { key: "torn", one: "torn link", many: "torn links" },
  { key: "abandoned", one: "object left out for it", many: "objects left out for it" },
  { key: "limited", one: "value beyond a bound", many: "values beyond a bound" },
];

/** What to say of a listing of a guest that `runs`, or of an image, that may lack something; undefined for one that is whole. */
export function incompleteness(quality: Quality, runs: boolean): string | undefined {
  const losses = LOSSES.filter(({ key }) => quality[key] > 0).map(
    ({ key, one, many }) => `${quality[key]} ${quality[key] === 1 ? one : many}`,
  );
  if (losses.length === 0) return undefined;
  const advice = runs
    ? "The guest changed faster than it was read, or boots: try again, or with --pause."
    : "If the image was taken while the guest ran, take one while it is paused.";
  return `the listing may be incomplete: ${losses.join(", ")}. ${advice}`;
}
