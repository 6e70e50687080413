import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chunkQuantum, layOut, type ParameterSpec, parameterQuantum } from '../../../src/memory/index.ts';
import { parameterLists } from './arbitraries.ts';

const spec = (id: number, unit: number, elements: number, extra: Partial<ParameterSpec> = {}): ParameterSpec => ({
  id,
  name: `p${id}`,
  unit,
  elements,
  trainable: true,
  group: 0,
  ...extra,
});

describe('layout', () => {
  it('places every owner once, aligned, without overlap, inside its chunk', () => {
    fc.assert(
      fc.property(parameterLists, (parameters) => {
        const { chunks } = layOut(parameters);
        const placed = chunks.flatMap((chunk) => chunk.parameters.map((parameter) => parameter.id));
        const owners = parameters.filter((parameter) => parameter.tiedTo === undefined).map(({ id }) => id);
        expect([...placed].sort((a, b) => a - b)).toEqual([...owners].sort((a, b) => a - b));
        for (const chunk of chunks) {
          expect(chunk.elements % chunkQuantum).toBe(0);
          let end = 0;
          for (const parameter of chunk.parameters) {
            expect(parameter.offset % parameterQuantum).toBe(0);
            expect(parameter.offset).toBeGreaterThanOrEqual(end);
            end = parameter.offset + parameter.elements;
          }
          expect(end).toBeLessThanOrEqual(chunk.elements);
        }
      }),
    );
  });

  it('gives each unit exactly the chunks that hold its parameters, tied ones included', () => {
    fc.assert(
      fc.property(parameterLists, (parameters) => {
        const layout = layOut(parameters);
        const home = new Map(
          layout.chunks.flatMap((chunk) => chunk.parameters.map(({ id }) => [id, chunk.id] as const)),
        );
        const wanted = layout.chunksOfUnit.map(() => new Set<number>());
        for (const { id, tiedTo, unit } of parameters) wanted[unit]!.add(home.get(tiedTo ?? id)!);
        expect(layout.chunksOfUnit.map((ids) => [...ids])).toEqual(wanted.map((set) => [...set].sort((a, b) => a - b)));
      }),
    );
  });

  it('keeps ordinary chunks within one size and gives a chunk of its own to what is larger', () => {
    fc.assert(
      fc.property(parameterLists, (parameters) => {
        const layout = layOut(parameters);
        for (const chunk of layout.chunks) {
          if (chunk.large) expect(chunk.parameters).toHaveLength(1);
          else expect(chunk.elements).toBeLessThanOrEqual(layout.chunkElements);
        }
      }),
    );
  });

  it('never mixes units, trainability or tied with untied', () => {
    const layout = layOut([
      spec(0, 0, 100),
      spec(1, 0, 100, { trainable: false }),
      spec(2, 0, 100),
      spec(3, 1, 100),
      spec(4, 1, 100, { tiedTo: 0 }),
    ]);
    expect(
      layout.chunks.map(({ units, trainable, parameters }) => [units, trainable, parameters.map((p) => p.id)]),
    ).toEqual([
      [[0, 1], true, [0]],
      [[0], false, [1]],
      [[0], true, [2]],
      [[1], true, [3]],
    ]);
  });

  it('finds the size at which blocks pack exactly and leaves an outlying embedding out of it', () => {
    const block = [1_179_648, 393_216, 1_572_864, 1_572_864];
    const parameters = [38_597_376, ...Array.from({ length: 12 }, () => block).flat()].map((elements, id) =>
      spec(id, id === 0 ? 0 : Math.ceil(id / block.length), elements),
    );
    const layout = layOut(parameters);
    expect(layout.chunks[0]).toMatchObject({ large: true, elements: 38_598_656 });
    expect(layout.chunks.slice(1).every((chunk) => chunk.usedElements === layout.chunkElements)).toBe(true);
    expect(layout.paddingElements).toBe(38_598_656 - 38_597_376);
  });

  it('says what contradicts itself', () => {
    expect(() => layOut([spec(0, 0, 10), spec(0, 0, 10)])).toThrow(/id 0 \(p0\) appears twice/);
    expect(() => layOut([spec(1, 0, 10, { tiedTo: 0 })])).toThrow(/tied to parameter 0, which does not come before/);
    expect(() => layOut([spec(0, 0, 10), spec(1, 0, 12, { tiedTo: 0 })])).toThrow(/p1 \(12\) is tied to p0 \(10/);
    expect(() => layOut([spec(0, 0, 0)])).toThrow(/p0 has 0 elements/);
  });
});
