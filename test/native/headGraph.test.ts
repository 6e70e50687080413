/** The head's backward follows its forward: where its graph is small it is kept, whatever `memory.activations` says of all units. */
import { beforeAll, describe, expect, it } from 'vitest';
import type { ConfigInput } from '../../src/config/index.ts';
import { buildCut } from '../../src/engine/planTensor.ts';
import { type LanguageModel, Llama, type TokenBatch } from '../../src/models/index.ts';
import { type AnyModule, Module } from '../../src/nn/index.ts';
import { crossEntropy } from '../../src/nn/losses.ts';
import type { Tensor } from '../../src/tensor/index.ts';
import { tinyLlama, tinyMixture } from '../cases/models.ts';
import { gpt, record, scenario } from './tiersSupport.ts';

const models: Record<string, () => LanguageModel> = {
  'GPT-2': gpt,
  Llama: () => new Llama(tinyLlama()),
  Mixtral: () => new Llama(tinyLlama({ mixture: tinyMixture, intermediate_size: 16 })),
};

const tiers = { gpu: '1GiB', cpu: '1GiB' };
const placements: Record<string, ConfigInput['memory']> = {
  resident: { activations: 'recompute' },
  'on tiers, inputs parked': { ...tiers, activations: 'host' },
  'on tiers, vertical': { ...tiers, activations: 'recompute', accumulation: 'vertical' },
};

/** Counts how often the module computes. */
function counting(module: AnyModule): () => number {
  const forward = module.forward;
  let count = 0;
  module.forward = function (this: AnyModule, ...args) {
    count++;
    return forward.apply(this, args);
  };
  return () => count;
}

/** Two steps of two micro-batches: what came of them, and how often a block and the head ran forward. */
function trained(build: () => LanguageModel, memory: ConfigInput['memory'], wrap = (model: LanguageModel) => model) {
  let [block, head] = [() => 0, () => 0];
  const model = (): AnyModule => {
    const made = build();
    block = counting(made.blocks[1] as AnyModule);
    head = counting(made.head as AnyModule);
    return wrap(made) as AnyModule;
  };
  const { seen, hashes } = record(scenario('head', { train: { accumulate: 2 }, memory }, { model, steps: 2 }), {});
  return { seen, hashes, block: block(), head: head() };
}

describe.each(Object.entries(models))('%s', (_name, build) => {
  let kept: ReturnType<typeof trained>;
  beforeAll(() => {
    kept = trained(build, { activations: 'keep' });
  });

  // Planning takes its time: one model shows it for all.
  const cases = Object.entries(placements).slice(0, build === gpt ? 3 : 1);
  it.each(cases)('%s: blocks run forward twice, the head once', (_where, memory) => {
    const again = trained(build, memory);
    expect({ seen: again.seen, hashes: again.hashes }).toEqual({ seen: kept.seen, hashes: kept.hashes });
    expect(again.head).toBeGreaterThanOrEqual(kept.head); // on tiers some micro-batches are watched first
    expect(again.block).toBe(2 * again.head);
  });

  it('logits for a loss outside are made once, too', () => {
    const wrap = (model: LanguageModel) => new LossOutside(model) as unknown as LanguageModel;
    const expected = trained(build, { activations: 'keep' }, wrap);
    const { block, head, ...rest } = trained(build, { activations: 'recompute' }, wrap);
    expect(rest).toEqual({ seen: expected.seen, hashes: expected.hashes });
    expect([block, head]).toEqual([8, 4]);
  });
});

it('a head that is cut over ranks keeps probabilities in its graph, and is computed again', () => {
  const settings = { architecture: 'llama', config: { hidden_size: 64, num_attention_heads: 4, num_hidden_layers: 2 } };
  const policyOf = (tp: number) => {
    const unit = buildCut({ tp, tensor: '1d', depth: null })(settings).model.head.asUnit!;
    unit.follow('recompute');
    return unit.activations;
  };
  expect([policyOf(1), policyOf(2)]).toEqual(['keep', 'recompute']);
});

class LossOutside extends Module<[TokenBatch], Tensor> {
  readonly inner: LanguageModel;

  constructor(inner: LanguageModel) {
    super();
    this.inner = inner;
  }

  forward({ ids, labels }: TokenBatch): Tensor {
    return crossEntropy(this.inner.call({ ids }), labels!);
  }
}
