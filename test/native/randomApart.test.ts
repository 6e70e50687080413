/** Numbers of ranks that have different parts of a tensor, between those of what they have copies of. */
import { describe, expect, it } from 'vitest';
import { nativeIsBuilt } from '../../src/native/load.ts';
import { collectUnits, Dropout, Module, randomKeys } from '../../src/nn/index.ts';
import { ops, scope, type Tensor } from '../../src/tensor/index.ts';

/** Drops, drops in branch `branch`, drops again. */
class Drops extends Module<[Tensor], Tensor[]> {
  readonly drop = new Dropout(0.5);
  branch = 0;

  forward(x: Tensor): Tensor[] {
    const before = this.drop.call(x);
    const apart = randomKeys.apart(this.branch, () => this.drop.call(x));
    const again = randomKeys.apart(this.branch, () => this.drop.call(x));
    return [before, apart, again, this.drop.call(x)];
  }
}

function drawn(model: Drops, branch: number): string[] {
  return scope(() => {
    model.branch = branch;
    randomKeys.begin({ seed: 3, step: 0, microBatch: 0 });
    return model.call(ops.ones([64])).map((tensor) => ops.toArray(tensor).join(''));
  });
}

describe.skipIf(!nativeIsBuilt())('randomKeys.apart', () => {
  const model = new Drops().unit();
  collectUnits(model);

  it('draws what is a branch’s own, and goes on with what all share', () => {
    const [first, second] = [drawn(model, 0), drawn(model, 1)];
    expect(second[0]).toBe(first[0]);
    expect(second[1]).not.toBe(first[1]);
    expect(second[2]).not.toBe(first[2]);
    expect(second[3]).toBe(first[3]);
    expect(new Set([...first, second[1], second[2]]).size).toBe(6);
    expect(drawn(model, 1)).toEqual(second);
  });
});
