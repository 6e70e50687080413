/** What changed between two configurations, in words; fields that only one of them has are left out. */
export function changesBetween(
  saved: Readonly<Record<string, unknown>>,
  here: Readonly<Record<string, unknown>>,
  prefix = '',
): string[] {
  return Object.keys(here)
    .filter((key) => saved[key] !== undefined && JSON.stringify(saved[key]) !== JSON.stringify(here[key]))
    .map((key) => `${prefix}${key} was ${JSON.stringify(saved[key])}, is now ${JSON.stringify(here[key])}`);
}

/** The same through all sections, as paths such as `optimizer.learningRate`; lists are compared as a whole. */
export function deepChanges(
  saved: Readonly<Record<string, unknown>>,
  here: Readonly<Record<string, unknown>>,
  prefix = '',
): string[] {
  return Object.keys(here).flatMap((key) => {
    const [before, now] = [saved[key], here[key]];
    if (isSection(before) && isSection(now)) return deepChanges(before, now, `${prefix}${key}.`);
    return changesBetween({ [key]: before }, { [key]: now }, prefix);
  });
}

const isSection = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
