/** Parameters on pages, pages on ranks: nothing lost, nothing twice, no norm block cut. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import {
  gapsOf,
  gatheredElements,
  layFlats,
  pageElements,
  shardElements,
  slicesOf,
} from '../../../src/dist/zero/flats.ts';
import { parameterQuantum } from '../../../src/memory/index.ts';
import { zeros } from '../../../src/nn/init.ts';
import { Parameter } from '../../../src/nn/parameter.ts';
import { Unit } from '../../../src/nn/unit.ts';

const parameter = (elements: number, trainable = true): Parameter => {
  const made = new Parameter([elements], zeros);
  made.trainable = trainable;
  return made;
};

function unitOf(index: number, parameters: readonly Parameter[]): Unit {
  const unit = new Unit({}, {});
  unit.index = index;
  unit.name = `unit${index}`;
  unit.parameters = parameters;
  return unit;
}

const sizes = fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 30_000 }));
/** Units of parameters, some tied to one of the unit before; the group is the number of elements modulo 2. */
const models = fc
  .array(fc.array(fc.record({ elements: sizes, trainable: fc.boolean(), tied: fc.boolean() }), { maxLength: 8 }), {
    minLength: 1,
    maxLength: 5,
  })
  .map((described) => {
    const all: Parameter[] = [];
    return described.map((unit, index) => {
      const parameters = unit.map(({ elements, trainable, tied }, at) => {
        const own = parameter(elements, trainable);
        const used = tied && at === 0 && all.length > 0 ? all.at(-1)! : own;
        all.push(used);
        return used;
      });
      return unitOf(index, [...new Set(parameters)]);
    });
  });
const groupOf = ({ elements }: Parameter): number => elements % 2;

it('gives every element to exactly one rank, whole norm blocks each', () => {
  fc.assert(
    fc.property(models, fc.integer({ min: 1, max: 9 }), (units, ranks) => {
      const flats = layFlats(units, groupOf);
      const held = new Map<Parameter, number>();
      for (const flat of flats) {
        for (let rank = 0; rank < ranks; rank++) {
          let end = 0;
          for (const { parameter: owner, from, elements, offset } of slicesOf(flat, rank, ranks)) {
            expect(from).toBe(held.get(owner) ?? 0);
            expect(from % pageElements).toBe(0);
            expect(offset % parameterQuantum).toBe(0);
            expect(offset).toBeGreaterThanOrEqual(end);
            end = offset + elements;
            expect(end).toBeLessThanOrEqual(shardElements(flat, ranks));
            held.set(owner, from + elements);
          }
        }
      }
      const all = new Set(units.flatMap((unit) => unit.parameters));
      expect(new Set(held.keys())).toEqual(all);
      for (const [owner, elements] of held) expect(elements).toBe(owner.elements);
    }),
  );
});

it('keeps units, groups and trainability apart', () => {
  fc.assert(
    fc.property(models, (units) => {
      for (const flat of layFlats(units, groupOf)) {
        for (const { parameter: owner } of flat.parameters) {
          const users = units.filter((unit) => unit.parameters.includes(owner)).map(({ index }) => index);
          expect(flat.units).toEqual(users);
          expect([flat.group, flat.trainable]).toEqual([groupOf(owner), owner.trainable]);
        }
      }
    }),
  );
});

it('knows the gaps: they and the parameters make up the gathered flat', () => {
  fc.assert(
    fc.property(models, fc.integer({ min: 1, max: 5 }), (units, ranks) => {
      for (const flat of layFlats(units, groupOf)) {
        const used = flat.parameters.reduce((sum, { parameter: { elements } }) => sum + elements, 0);
        const gaps = gapsOf(flat, ranks).reduce((sum, [from, to]) => sum + to - from, 0);
        expect(used + gaps).toBe(gatheredElements(flat, ranks));
      }
    }),
  );
});

it('wastes less than a page per rank and flat beyond the last pages of large parameters', () => {
  const block = [4096 * 4096, 4096 * 1024, 4096 * 1024, 4096 * 4096, 4096 * 11008, 4096 * 11008, 11008 * 4096].map(
    (n) => parameter(n),
  );
  const [flat] = layFlats([unitOf(0, block)], () => 0);
  const elements = block.reduce((sum, each) => sum + each.elements, 0);
  for (const ranks of [2, 3, 8, 64]) {
    expect(gatheredElements(flat!, ranks) - elements).toBeLessThan(ranks * pageElements);
  }
});

it('puts small parameters into the pages that large ones leave open', () => {
  const [flat] = layFlats([unitOf(0, [parameter(100), parameter(5000), parameter(64), parameter(2000)])], () => 0);
  expect(flat!.pages).toBe(2);
});
