/** Planes of states: where each parameter's entries lie, and what all of them take. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type ElementBytes,
  entriesFor,
  firstEntry,
  layOut,
  planeEntries,
  planeOffset,
  stateBytes,
  stateBytesPerElement,
  statePlanes,
} from '../../../src/memory/index.ts';
import { parameterLists } from './arbitraries.ts';

const bf16: ElementBytes = { computeBytes: 2, stateBytes: 4 };
const formats: readonly ElementBytes[] = [
  bf16,
  { computeBytes: 8, stateBytes: 8 },
  { ...bf16, states: 'compressed' },
  { computeBytes: 4, stateBytes: 4, states: 'compressed' },
];

describe.each(formats)('%j', (types) => {
  it('keeps every entry of every parameter apart, aligned, and inside the state', () => {
    fc.assert(
      fc.property(parameterLists, fc.integer({ min: 2048, max: 100_000 }), (parameters, chunkElements) => {
        for (const chunk of layOut(parameters, { chunkElements }).chunks) {
          const bytes = stateBytes(chunk, types);
          expect(bytes % 4096).toBe(0);
          expect(bytes > 0).toBe(chunk.trainable);
          if (!chunk.trainable) continue;
          let end = 0;
          for (const plane of statePlanes(types)) {
            const offset = planeOffset(chunk, types, plane.kind);
            expect(offset % 64).toBe(0);
            expect(offset).toBeGreaterThanOrEqual(end);
            let entry = 0;
            for (const [index, { elements }] of chunk.parameters.entries()) {
              const first = firstEntry(chunk, plane, index);
              expect(first).toBeGreaterThanOrEqual(entry);
              entry = first + entriesFor(plane, elements);
              // Blocks begin with the parameter: where it lies in a chunk must not matter.
              expect(entriesFor(plane, elements)).toBe(Math.ceil(elements / plane.entryElements));
            }
            expect(planeEntries(chunk, plane)).toBeGreaterThanOrEqual(entry);
            end = offset + planeEntries(chunk, plane) * plane.entryBytes;
          }
          expect(end).toBeLessThanOrEqual(bytes);
        }
      }),
    );
  });
});

it('takes 12 bytes for an element in exact states, and half in compressed ones', () => {
  expect(stateBytesPerElement(bf16)).toBe(12);
  expect(stateBytesPerElement({ ...bf16, states: 'compressed' })).toBe(6 + 2 / 64);
  expect(stateBytesPerElement({ computeBytes: 4, stateBytes: 4, states: 'compressed' })).toBe(6 + 2 / 64);
});
