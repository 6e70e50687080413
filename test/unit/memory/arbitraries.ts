import fc from 'fast-check';
import type { ParameterSpec } from '../../../src/memory/index.ts';

/** Parameter lists in order of first use: mixed sizes, frozen ones, groups, ties to earlier units. */
export const parameterLists: fc.Arbitrary<ParameterSpec[]> = fc
  .array(
    fc.array(
      fc.record({
        elements: fc.oneof(
          { weight: 5, arbitrary: fc.integer({ min: 1, max: 60_000 }) },
          fc.integer({ min: 1, max: 900_000 }),
        ),
        frozen: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
        group: fc.integer({ min: 0, max: 2 }),
        tie: fc.option(fc.nat(), { freq: 12 }),
      }),
      { minLength: 1, maxLength: 6 },
    ),
    { minLength: 1, maxLength: 10 },
  )
  .map((units) => {
    const list: ParameterSpec[] = [];
    units.forEach((parameters, unit) => {
      for (const { elements, frozen, group, tie } of parameters) {
        const id = list.length;
        const owners = list.filter((other) => other.tiedTo === undefined);
        const owner = tie === null || tie === undefined ? undefined : owners[tie % Math.max(1, owners.length)];
        const shape = owner === undefined ? { elements } : { elements: owner.elements, tiedTo: owner.id };
        list.push({ id, name: `u${unit}.p${id}`, unit, trainable: owner?.trainable ?? !frozen, group, ...shape });
      }
    });
    return list;
  });
