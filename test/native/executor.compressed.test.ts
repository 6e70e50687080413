/** Updates of compressed states on the update lane: the bits of the same update on tensors, wherever the planes lie. */
import { describe, expect, it } from 'vitest';
import { type Chunk, type ElementBytes, layOut, planeOffset, stateBytes } from '../../src/memory/index.ts';
import type { ArenaId, CompressedTensors, UpdateTicket } from '../../src/native/binding.ts';
import { native, nativeIsBuilt } from '../../src/native/load.ts';
import { compressedPlanes } from '../../src/offload/compressedPlanes.ts';
import { adopt, type Dtype, dtypeCode, ops, scope, type Tensor } from '../../src/tensor/index.ts';
import { id, withExecutor } from './executorSupport.ts';
import { mib, readArena, thrown } from './swapSupport.ts';

const types: ElementBytes = { computeBytes: 2, stateBytes: 4, states: 'compressed' };
const sizes = [300, 5000];
const { chunks } = layOut(
  sizes.map((elements, i) => ({ id: i, name: `p${i}`, unit: 0, elements, trainable: true, group: i })),
);
const [chunk] = chunks as [Chunk];
const bfloat16 = dtypeCode('bfloat16');
const [gradientAt, secondAt, stateAt, outAt, parameterAt] = [0, mib, 2 * mib, 3 * mib, 4 * mib];
const group = {
  lr: 1e-2,
  beta1: 0.9,
  beta2: 0.95,
  eps: 1e-8,
  weightDecay: 0.1,
  biasCorrection1: 0.1,
  biasCorrection2: 0.05,
  momentum: 0,
  nesterov: false,
};
const groups = [group, { ...group, lr: 0.1, weightDecay: 0 }];

const ticket = (arena: ArenaId, changes: Partial<UpdateTicket> = {}): UpdateTicket => ({
  id: id(1),
  lane: 'update',
  after: [],
  afterMoment: -1,
  afterCell: -1,
  cause: 'update',
  chunk: 0,
  step: 1,
  rule: 'adamw',
  count: chunk.elements,
  gradients: [
    { arena, offset: gradientAt, dtype: bfloat16 },
    { arena, offset: secondAt, dtype: bfloat16 },
  ],
  state: { arena, offset: stateAt, dtype: bfloat16 },
  planes: compressedPlanes(chunk, types),
  stateOut: { arena, offset: outAt },
  parameterOut: { arena, offset: parameterAt, dtype: bfloat16 },
  segments: chunk.parameters.map(({ offset, elements, group: own }, i) => {
    return { begin: offset, count: elements, group: own, firstScale: i === 0 ? 0 : 2 };
  }),
  groups,
  scaleCell: -1,
  ...changes,
});

/** bf16 values that differ from one another, also in padding, where gradients may hold anything. */
const values = (seed: number): Uint8Array =>
  scope(() =>
    ops.toBytes(
      ops.to(
        ops.fromArray(
          Float32Array.from({ length: chunk.elements }, (_, i) => Math.sin(i * seed)),
          [chunk.elements],
        ),
        { dtype: 'bfloat16' },
      ),
    ),
  );

const tensorIn = (arena: ArenaId, at: number, count: number, dtype: Dtype): Tensor =>
  adopt(native().arenaTensor(arena, at, [count], dtypeCode(dtype)));

describe.skipIf(!nativeIsBuilt())('compressed states', () => {
  it('out of place, two uses, two groups: the bits of tensors, and the old state stays', () => {
    withExecutor({}, ({ arena, executor }) => {
      const bytes = stateBytes(chunk, types);
      native().arenaFill(arena, stateAt, bytes, 0);
      native().arenaFill(arena, outAt, bytes, 0);
      native().arenaWrite(arena, stateAt, values(0.7));
      for (const [at, seed] of [
        [gradientAt, 0.3],
        [secondAt, 0.9],
      ] as const)
        native().arenaWrite(arena, at, values(seed));
      const before = readArena(arena, stateAt, bytes);
      native().submit(executor, [ticket(arena)]);
      native().drain(executor);
      expect(readArena(arena, stateAt, bytes)).toEqual(before);

      // The same on the old state, in place: it must become the new one.
      scope(() => {
        for (const [index, { offset, elements }] of chunk.parameters.entries()) {
          const scale = index === 0 ? 0 : 2;
          const plane = (kind: Parameters<typeof planeOffset>[2]) => stateAt + planeOffset(chunk, types, kind);
          const scales = Math.ceil(elements / 256);
          const [one, two] = [gradientAt, secondAt].map((at) =>
            ops.to(tensorIn(arena, at + 2 * offset, elements, 'bfloat16'), { dtype: 'float32' }),
          );
          const tensors: CompressedTensors = {
            gradient: ops.add(one!, two!).handle,
            weight: tensorIn(arena, plane('weight') + 2 * offset, elements, 'bfloat16').handle,
            low: tensorIn(arena, plane('correction') + 2 * offset, elements, 'int16').handle,
            m: tensorIn(arena, plane('moment1Codes') + offset, elements, 'uint8').handle,
            root: tensorIn(arena, plane('moment2Codes') + offset, elements, 'uint8').handle,
            mScales: tensorIn(arena, plane('moment1Scales') + 4 * scale, scales, 'float32').handle,
            rootScales: tensorIn(arena, plane('moment2Scales') + 4 * scale, scales, 'float32').handle,
            weightOut: null,
          };
          native().optimizerUpdateCompressed('scalar', groups[index]!, 1, tensors, 1);
          const weight = plane('weight') + 2 * offset;
          expect(readArena(arena, parameterAt + 2 * offset, 2 * elements)).toEqual(
            readArena(arena, weight, 2 * elements),
          );
        }
      });
      const after = readArena(arena, stateAt, bytes);
      expect(readArena(arena, outAt, bytes)).toEqual(after);
      expect(after).not.toEqual(before);
    });
  });

  it('refuses planes and scales that lie elsewhere', () => {
    withExecutor({}, ({ arena, executor }) => {
      const planes = compressedPlanes(chunk, types)!;
      const bad: Partial<UpdateTicket>[] = [
        { rule: 'lion' },
        { preview: true },
        { planes: { ...planes, bytes: 64 * mib } },
        { planes: { ...planes, weight: planes.bytes - 2 } },
        { planes: { ...planes, mScales: planes.mScales + 2 } },
        { planes: { ...planes, rootScales: planes.bytes - 4 } },
        { planes: { ...planes, scales: 21 } },
        { stateOut: { arena, offset: stateAt + 4096 } },
        { parameterOut: { arena, offset: parameterAt, dtype: dtypeCode('float32') } },
      ];
      for (const changes of bad) {
        expect(thrown(() => native().submit(executor, [ticket(arena, changes)]))).toMatchObject({ code: 'E_ARGUMENT' });
      }
    });
  });
});
