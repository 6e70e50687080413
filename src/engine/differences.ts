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
