import { baseRecipes, recipes, variantRecipes } from "../../vmcore-fixtures/recipes.ts";

const names = (list: readonly { name: string }[]) => list.map(({ name }) => name);
const perDay = 3;

/** All variants come up in turn, some each day. */
export function variantsOfDay(day: number): string[] {
  const variants = names(variantRecipes);
  return Array.from({ length: perDay }, (_, index) => variants[(day * perDay + index) % variants.length]!);
}

/** `asked`: names, "--all" for every one, or nothing for the four base kernels and the day's variants. */
export function selectedNames(asked: readonly string[], now: Date): string[] {
  if (asked.includes("--all")) return [...names(baseRecipes), ...names(variantRecipes)];
  const unknown = asked.find((name) => !names(recipes).includes(name));
  if (unknown) throw new RangeError(`There is no guest ${unknown}: ${names(recipes).join(", ")}, or --all`);
  if (asked.length > 0) return [...asked];
  return [...names(baseRecipes), ...variantsOfDay(Math.floor(now.getTime() / 86_400_000))];
}
