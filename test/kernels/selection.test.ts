import { expect, it } from "vitest";
import { baseRecipes, variantRecipes } from "../../vmcore-fixtures/recipes.ts";
import { selectedNames } from "./selection.ts";

const day = (number: number) => new Date(number * 86_400_000);

it("takes the four base kernels every day, and every variant within a few", () => {
  const seen = new Set<string>();
  for (let number = 20_000; number < 20_000 + variantRecipes.length; number++) {
    const selected = selectedNames([], day(number));
    expect(selected.slice(0, 4)).toEqual(baseRecipes.map(({ name }) => name));
    for (const name of selected.slice(4)) seen.add(name);
  }
  expect([...seen].sort()).toEqual(variantRecipes.map(({ name }) => name).sort());
});

it("takes everything when asked to, or what is named", () => {
  expect(selectedNames(["--all"], day(1))).toHaveLength(4 + variantRecipes.length);
  expect(selectedNames(["linux-6.1-big"], day(1))).toEqual(["linux-6.1-big"]);
  expect(() => selectedNames(["linux-2.4"], day(1))).toThrow("There is no guest linux-2.4");
});
