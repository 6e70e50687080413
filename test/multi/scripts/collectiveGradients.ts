/**
 * Gradients of the collectives against what really happens to the loss when one element of one rank's input moves: all of
 * them are linear, so a step of one gives the derivative.
 */
import type { Communicator } from '../../../src/dist/index.ts';
import * as tp from '../../../src/dist/tensor/index.ts';
import { grad, ops, scope, type Tensor } from '../../../src/tensor/index.ts';

interface Case {
  readonly apply: (x: Tensor) => Tensor;
  readonly shape: readonly number[];
  /** The input is one tensor that all ranks hold, so that it moves on all of them. */
  readonly sharedInput: boolean;
  /** The result is one tensor that all ranks hold, so that the loss counts it once. */
  readonly sharedOutput: boolean;
}

export function run({ all }: Communicator): Record<string, { apart: number; backward: string[] }> {
  const { rank, size } = all;
  const uneven = Array.from({ length: size }, (_, p) => (p + 1) % size);
  const cases: Record<string, Case> = {
    copy: { apply: (x) => tp.copyToGroup(x, all), shape: [2, 3], sharedInput: true, sharedOutput: false },
    reduce: { apply: (x) => tp.reduceFromGroup(x, all), shape: [2, 3], sharedInput: false, sharedOutput: true },
    sum: { apply: (x) => tp.sumInGroup(x, all), shape: [5], sharedInput: false, sharedOutput: false },
    'gather, used differently': {
      apply: (x) => tp.gatherFromGroup(x, all, 1, true),
      shape: [2, 3],
      sharedInput: false,
      sharedOutput: false,
    },
    'gather, used alike': {
      apply: (x) => tp.gatherFromGroup(x, all, -1, false),
      shape: [2, 2],
      sharedInput: false,
      sharedOutput: true,
    },
    scatter: {
      apply: (x) => tp.scatterToGroup(x, all, 0),
      shape: [2 * size, 2],
      sharedInput: true,
      sharedOutput: false,
    },
    reduceScatter: {
      apply: (x) => tp.reduceScatterToGroup(x, all, 1),
      shape: [2, size],
      sharedInput: false,
      sharedOutput: false,
    },
    allToAll: {
      apply: (x) => tp.allToAllInGroup(x, all, 0, 1),
      shape: [size, 2],
      sharedInput: false,
      sharedOutput: false,
    },
    rows: {
      // p + 1 rows, modulo the size, to every position p, whoever sends.
      apply: (x) => tp.allToAllRows(x, all, Array(size).fill((rank + 1) % size), uneven),
      shape: [uneven.reduce((a, b) => a + b, 0), 2],
      sharedInput: false,
      sharedOutput: false,
    },
    shift: { apply: (x) => tp.shiftInGroup(x, all, 1), shape: [3], sharedInput: false, sharedOutput: false },
    'shift back': { apply: (x) => tp.shiftInGroup(x, all, -2), shape: [3], sharedInput: false, sharedOutput: false },
  };
  return Object.fromEntries(Object.entries(cases).map(([name, one]) => [name, scope(() => compare(one, rank, size))]));

  function compare(
    { apply, shape, sharedInput, sharedOutput }: Case,
    own: number,
    ranks: number,
  ): { apart: number; backward: string[] } {
    const values = (seed: number, of: readonly number[]): Tensor => {
      const count = of.reduce((product, length) => product * length, 1);
      return ops.fromArray(
        Float64Array.from({ length: count }, (_, i) => Math.sin(seed * 3.7 + i * 1.3)),
        of,
      );
    };
    const x = values(sharedInput ? 1 : own + 1, shape).requireGrad();
    const y = apply(x);
    const weights = values(sharedOutput ? 50 : own + 50, y.shape);
    const calls = (): Record<string, number> =>
      Object.fromEntries(Object.entries(all.counters()).map(([name, { calls }]) => [name, calls]));
    const before = calls();
    const [analytic] = grad([y], [x], [weights]);
    const after = calls();
    const lossAt = (input: Tensor): number => {
      const loss = ops.sum(ops.mul(apply(input), weights));
      const counted = sharedOutput && own !== 0 ? ops.mul(loss, 0) : loss;
      all.allReduce(counted).wait();
      return counted.item();
    };
    const base = lossAt(ops.detach(x));
    const count = x.elements;
    const got = ops.toArray(analytic!);
    let apart = 0;
    for (let mover = 0; mover < (sharedInput ? 1 : ranks); mover++) {
      for (let at = 0; at < count; at++) {
        const moves = sharedInput || mover === own;
        const moved = ops.toArray(x).map((value, i) => (moves && i === at ? value + 1 : value));
        const numeric = lossAt(ops.fromArray(Float64Array.from(moved), shape)) - base;
        if (moves) apart = Math.max(apart, Math.abs(numeric - got[at]!));
      }
    }
    return { apart, backward: Object.keys(after).filter((name) => after[name] !== before[name]) };
  }
}
