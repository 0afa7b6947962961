import { listRule, restRule } from "./lists.ts";
import type { Json } from "./nft.ts";
import type { Frame, Part } from "./ruleset.ts";
import { beyondKey, type Content, isList, type KeyedPattern, type Slot, verdictJson, within } from "./slots.ts";
import { sameStance, stanceCommands, stanceOf } from "./stance.ts";

/** What leads from what is held to what is wanted. */
export interface Changes {
  /**
   * Makes the lists that are new. In a transaction before the others: a packet on its way sees the rules of before, but elements of
   * after, and a list that came with them would have no rules for it.
   */
  readonly lists: readonly Json[];
  readonly commands: readonly Json[];
  readonly added: readonly string[];
  readonly removed: readonly string[];
  readonly unchanged: number;
  /** Whether it changes rules that are not a list's. */
  readonly touchesFrame: boolean;
}

export function changesBetween(
  { table, parts }: Pick<Frame, "table" | "parts">,
  held: Content,
  wanted: Content,
): Changes {
  if (held === wanted) {
    return { lists: [], commands: [], added: [], removed: [], unchanged: wanted.patterns.size, touchesFrame: false };
  }
  const changes = parts.map((part) => {
    const { directions } = part;
    return partChanges(table, part, within(held, directions), within(wanted, directions));
  });
  return {
    lists: changes.flatMap(({ lists }) => lists),
    commands: changes.flatMap(({ commands }) => commands),
    touchesFrame: changes.some(({ touchesFrame }) => touchesFrame),
    ...compareKeys(held, wanted),
  };
}

/** Commands in an order that the kernel takes: elements before the lists that they leave. */
function partChanges(
  table: string,
  part: Part,
  held: Content,
  wanted: Content,
): Pick<Changes, "lists" | "commands" | "touchesFrame"> {
  const inTable = { family: part.family, table };
  const [before, after] = [listsOf(held), listsOf(wanted)];
  const gone = [...held.slots.values()].filter((slot) => slot.verdict !== wanted.slots.get(slot.id)?.verdict);
  const come = [...wanted.slots.values()].filter((slot) => slot.verdict !== held.slots.get(slot.id)?.verdict);
  const stance = stanceOf(wanted);
  const newStance = !sameStance(stanceOf(held), stance);
  const newLists = [...after].filter(([name]) => !before.has(name));
  const unused = [...before.keys()].filter((name) => !after.has(name));
  const rests = [...new Set([...held.rest.keys(), ...wanted.rest.keys()])].filter(
    (side) => keysOf(held.rest.get(side)) !== keysOf(wanted.rest.get(side)),
  );
  const lists: Json[] = [
    ...newLists.map(([name]): Json => ({ add: { chain: { ...inTable, name } } })),
    ...newLists.flatMap(([chain, { patterns }]) =>
      patterns.map((pattern): Json => ({ add: { rule: { ...inTable, chain, expr: listRule(beyondKey(pattern)) } } })),
    ),
  ];
  const commands: Json[] = [
    ...(newStance ? stanceCommands(table, part, stance) : []),
    ...byMap(gone, (slot) => ({ concat: slot.key })).map(
      ([name, elem]): Json => ({ delete: { element: { ...inTable, name, elem } } }),
    ),
    ...byMap(come, (slot) => [{ concat: slot.key }, verdictJson(slot.verdict)]).map(
      ([name, elem]): Json => ({ add: { element: { ...inTable, name, elem } } }),
    ),
    ...rests.flatMap((side): Json[] => [
      { flush: { chain: { ...inTable, name: `rest_${side}` } } },
      ...(wanted.rest.get(side) ?? []).map(
        (pattern): Json => ({ add: { rule: { ...inTable, chain: `rest_${side}`, expr: restRule(pattern) } } }),
      ),
    ]),
    ...unused.flatMap((name): Json[] => [
      { flush: { chain: { ...inTable, name } } },
      { delete: { chain: { ...inTable, name } } },
    ]),
  ];
  return { lists, commands, touchesFrame: newStance || rests.length > 0 };
}

/** Whether a table holds what of the content comes there. */
export function holds(part: Part, held: Content, content: Content): boolean {
  const { lists, commands } = partChanges("", part, within(held, part.directions), within(content, part.directions));
  return lists.length + commands.length === 0;
}

/** Which patterns come, go and stay, by their keys. */
export function compareKeys(held: Content, wanted: Content): Pick<Changes, "added" | "removed" | "unchanged"> {
  const added = [...wanted.patterns.keys()].filter((key) => !held.patterns.has(key));
  const removed = [...held.patterns.keys()].filter((key) => !wanted.patterns.has(key));
  return { added, removed, unchanged: wanted.patterns.size - added.length };
}

function keysOf(patterns: readonly KeyedPattern[] = []): string {
  return patterns.map(({ key }) => key).join("\n");
}

/** The lists that elements jump to, each with one of those. */
function listsOf({ slots }: Content): Map<string, Slot> {
  const lists = new Map<string, Slot>();
  for (const slot of slots.values()) if (isList(slot.verdict)) lists.set(slot.verdict, slot);
  return lists;
}

function byMap(slots: readonly Slot[], element: (slot: Slot) => Json): [map: string, elements: Json[]][] {
  const maps = new Map<string, Json[]>();
  for (const slot of slots) {
    const elements = maps.get(slot.map) ?? [];
    elements.push(element(slot));
    maps.set(slot.map, elements);
  }
  return [...maps];
}
