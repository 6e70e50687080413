/** What of graphs can be seen on a CPU: which inputs are of one kind, and that asking for graphs changes nothing but a note. */
import { afterEach, describe, expect, it } from 'vitest';
import { kindOf } from '../../src/engine/graphs/kind.ts';
import { native } from '../../src/native/load.ts';
import { KeyValueCache } from '../../src/nn/index.ts';
import { ops, scope, type Tensor } from '../../src/tensor/index.ts';
import { startGpt, tokens, weightsOf } from './engineSupport.ts';
import { drop } from './tiersSupport.ts';

const made: Tensor[] = [];
afterEach(() => {
  for (const tensor of made.splice(0)) tensor.dispose();
});
const tensor = (shape: readonly number[], dtype: 'float32' | 'int64' = 'int64'): Tensor => {
  const one = ops.zeros(shape, { dtype }).keep();
  made.push(one);
  return one;
};
const kind = (input: unknown): string | null => kindOf(input, 'cpu');

describe('the kind of an input', () => {
  it('is the same for tensors of the same shapes at the same places', () => {
    const first = kind({ ids: tensor([2, 3]), rest: [tensor([4]), 1, 'a', null, undefined, true] });
    expect(first).not.toBeNull();
    expect(kind({ ids: tensor([2, 3]), rest: [tensor([4]), 1, 'a', null, undefined, true] })).toBe(first);
  });

  it('differs with everything that a graph would not notice', () => {
    const [one, other] = [tensor([2, 3]), tensor([2, 3])];
    const kinds = [
      { ids: one, labels: tensor([2, 3]) },
      { ids: one, labels: one },
      { ids: one },
      { ids: tensor([3, 2]), labels: tensor([2, 3]) },
      { ids: one, labels: tensor([2, 3], 'float32') },
      { ids: one, labels: tensor([2, 3]), start: 1 },
      { ids: one, labels: tensor([2, 3]), start: 2 },
      { ids: one, labels: tensor([2, 3]), start: '2' },
      [one, tensor([2, 3])],
      [one, other, one],
      [one, other, other],
      one,
    ].map(kind);
    expect(kinds).not.toContain(null);
    expect(new Set(kinds).size).toBe(kinds.length);
  });

  it('is none where an input is more than values and packed tensors of the device', () => {
    expect(kind({ ids: tensor([2]), cache: new KeyValueCache() })).toBeNull();
    expect(kind({ ids: tensor([2]), later: () => 1 })).toBeNull();
    expect(kind({ ids: tensor([2], 'float32').requireGrad(true) })).toBeNull();
    expect(kindOf({ ids: tensor([2]) }, 'cuda:0')).toBeNull();
    scope(() => {
      expect(kind(ops.transpose(tensor([2, 3]), 0, 1))).toBeNull();
      expect(kind(ops.slice(tensor([2, 4]), 1, 0, 2))).toBeNull();
      expect(kind(ops.slice(tensor([4, 2]), 0, 1, 3))).not.toBeNull();
    });
  });
});

describe('on a CPU', () => {
  it('a recording is refused', () => {
    expect(() => native().graphBegin('cpu')).toThrow(/for CUDA devices/);
    expect(native().liveGraphs()).toBe(0);
    expect(() => native().graphReplay(1 as never)).toThrow(/destroyed, or never begun/);
  });

  it('runtime.graphs: always changes nothing, and says so', () => {
    const run = (graphs: 'always' | 'never') => {
      const { engine } = startGpt({ runtime: { graphs } });
      const losses = Array.from({ length: 5 }, (_, index) => {
        engine.train();
        engine.zeroGrad();
        const batch = tokens(2, 16, index);
        const [loss] = engine.runMicroBatches([batch]).map((each) => each.item());
        engine.step();
        drop(batch);
        return loss;
      });
      const { notes, isReplaying } = engine;
      const weights = weightsOf(engine);
      engine.dispose();
      return { losses, weights, notes, isReplaying };
    };
    const { notes, ...asked } = run('always');
    const { notes: none, ...plain } = run('never');
    expect(asked).toEqual(plain);
    expect(notes).toEqual(['runtime.graphs: always has no effect, it is for GPUs, not for cpu']);
    expect(none).toEqual([]);
  });
});
