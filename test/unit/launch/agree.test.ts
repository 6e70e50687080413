import { describe, expect, it } from 'vitest';
import { agree, firstDifference, flatten } from '../../../src/dist/agree.ts';

/** Ranks that have all said what they have to say. */
const peers = (said: readonly object[], rank: number) => ({
  world: { rank, size: said.length },
  exchange: <Value>(): Value[] => said.map((facts) => flatten(facts)) as Value[],
});

describe('ranks that must agree', () => {
  const config = { version: '1', config: { seed: 1, optimizer: { learningRate: 1e-3, groups: [] } } };

  it('pass when they do', () => {
    expect(() => agree(peers([config, structuredClone(config)], 1), config)).not.toThrow();
  });

  it('are told the first that differs, and in what', () => {
    const other = { ...config, config: { ...config.config, optimizer: { learningRate: 3e-3, groups: [] } } };
    for (const rank of [0, 1, 2]) {
      expect(() => agree(peers([config, config, other], rank), config)).toThrow(
        'rank 2 does not agree with rank 0: config.optimizer.learningRate is 0.003, on rank 0 it is 0.001',
      );
    }
  });

  it('differ in what only one of them has', () => {
    expect(firstDifference([{ a: '1' }, { a: '1', b: '2' }])).toEqual({
      rank: 1,
      key: 'b',
      here: 'not there',
      there: '2',
    });
    expect(firstDifference([{ a: '1', b: '2' }, { a: '1' }])).toMatchObject({ key: 'b', there: 'not there' });
  });
});
