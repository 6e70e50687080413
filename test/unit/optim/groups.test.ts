import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TierraError } from '../../../src/core/errors.ts';
import { adamw, groupParameters } from '../../../src/optim/index.ts';

const model = [
  { name: 'embedding.weight', shape: [100, 8] },
  { name: 'blocks.0.attention.query.weight', shape: [8, 8] },
  { name: 'blocks.0.attention.query.bias', shape: [8] },
  { name: 'blocks.0.norm.weight', shape: [8] },
  { name: 'head.weight', shape: [100, 8] },
];
const optimizer = adamw({ learningRate: 1e-3, weightDecay: 0.1 });

function errorOf(run: () => unknown): TierraError {
  try {
    run();
  } catch (error) {
    if (error instanceof TierraError) return error;
  }
  throw new Error('did not throw a TierraError');
}

describe('groupParameters', () => {
  it('spares norms and biases from weight decay', () => {
    const { groups, groupOf } = groupParameters(model, optimizer);
    expect(groups.map(({ label, hyperParameters }) => [label, hyperParameters.weightDecay])).toEqual([
      ['default', 0.1],
      ['default, no decay', 0],
    ]);
    expect(groups[1]!.parameters).toEqual(['blocks.0.attention.query.bias', 'blocks.0.norm.weight']);
    expect(groupOf.get('head.weight')).toBe(0);
  });

  it('decays all of them when asked', () => {
    const { groups } = groupParameters(model, optimizer, { decayNormsAndBiases: true });
    expect(groups).toHaveLength(1);
    expect(groups[0]!.hyperParameters.weightDecay).toBe(0.1);
  });

  it('gives rules their own numbers, the first match winning, and still spares biases', () => {
    const { groups, groupOf } = groupParameters(model, optimizer, {
      groups: [
        { match: 'query', learningRate: 5e-4 },
        { match: /^blocks/, weightDecay: 0.3 },
      ],
    });
    const of = (name: string) => groups[groupOf.get(name)!]!.hyperParameters;
    expect(of('blocks.0.attention.query.weight')).toMatchObject({ learningRate: 5e-4, weightDecay: 0.1 });
    expect(of('blocks.0.attention.query.bias')).toMatchObject({ learningRate: 5e-4, weightDecay: 0 });
    expect(of('blocks.0.norm.weight')).toMatchObject({ learningRate: 1e-3, weightDecay: 0.3 });
    expect(of('embedding.weight')).toEqual(optimizer.defaults);
  });

  it('freezes by rule and by parameter, into one group at the end', () => {
    const { groups, groupOf } = groupParameters(
      [...model, { name: 'tail', shape: [2, 2], trainable: false }],
      optimizer,
      { groups: [{ match: 'embedding', frozen: true }] },
    );
    expect(groups.at(-1)).toMatchObject({ frozen: true, parameters: ['embedding.weight', 'tail'] });
    expect(groupOf.get('tail')).toBe(groups.length - 1);
    expect(groups.slice(0, -1).some(({ frozen }) => frozen)).toBe(false);
  });

  it('names the nearest parameters when a rule matches none', () => {
    const error = errorOf(() => groupParameters(model, optimizer, { groups: [{ match: 'atention\\.query' }] }));
    expect(error.code).toBe('E_CONFIG');
    expect(error.message).toContain('optimizer.groups[0]');
    expect(error.message).toContain('none of 5 parameters');
    expect(error.details.nearest).toContain('blocks.0.attention.query.weight');
    expect(error.hint).toContain('blocks.0.attention.query');
  });

  it('says when an earlier rule took everything', () => {
    const error = errorOf(() =>
      groupParameters(model, optimizer, { groups: [{ match: 'blocks' }, { match: 'norm' }] }),
    );
    expect(error.message).toBe('optimizer.groups[1]: optimizer.groups[0] already has all that it matches');
  });

  it('refuses bad numbers, bad patterns and doubled names', () => {
    const withGroup = (group: object) => () =>
      groupParameters(model, optimizer, { groups: [{ match: 'head', ...group }] });
    expect(withGroup({ learningRate: -1 })).toThrow('optimizer.groups[0].learningRate');
    expect(withGroup({ weightDecay: Number.NaN })).toThrow('optimizer.groups[0].weightDecay');
    expect(withGroup({ match: '(' })).toThrow('not a regular expression');
    expect(() => groupParameters([...model, model[0]!], optimizer)).toThrow(
      'two parameters are called embedding.weight',
    );
  });

  it('is not fooled by patterns that remember where they stopped', () => {
    const { groups } = groupParameters(model, optimizer, { groups: [{ match: /weight/g, learningRate: 1 }] });
    const own = groups
      .filter(({ hyperParameters }) => hyperParameters.learningRate === 1)
      .flatMap(({ parameters }) => parameters);
    expect(own).toHaveLength(4);
  });

  it('puts every parameter into exactly one group, in the order given', () => {
    const parameters = fc.uniqueArray(
      fc.record({
        name: fc.stringMatching(/^[ab]{1,4}$/),
        shape: fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 3 }),
        trainable: fc.boolean(),
      }),
      { selector: ({ name }) => name },
    );
    const rules = fc.array(fc.record({ match: fc.constantFrom('a', 'b', '^a', 'b$'), frozen: fc.boolean() }), {
      maxLength: 3,
    });
    fc.assert(
      fc.property(parameters, rules, (named, candidates) => {
        // Rules that win no parameter are refused: leave them out.
        const winner = (name: string) => candidates.findIndex(({ match }) => new RegExp(match).test(name));
        const groups = candidates.filter((_, index) => named.some(({ name }) => winner(name) === index));
        const result = groupParameters(named, optimizer, { groups });
        const all = result.groups.flatMap((group, index) => group.parameters.map((name) => [name, index] as const));
        expect(new Map(all)).toEqual(result.groupOf);
        expect(all).toHaveLength(named.length);
        const position = new Map(named.map(({ name }, index) => [name, index]));
        for (const group of result.groups) {
          expect(group.parameters.length).toBeGreaterThan(0);
          const positions = group.parameters.map((name) => position.get(name)!);
          expect(positions).toEqual([...positions].sort((a, b) => a - b));
        }
      }),
    );
  });
});
