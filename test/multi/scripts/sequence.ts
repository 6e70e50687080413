/** Sequence parallelism against the whole sequence: attention in every mode, then models. Largest differences and counts. */

import type { Communicator, Group } from '../../../src/dist/index.ts';
import {
  HeadExchange,
  RingAttention,
  RingScores,
  type SequenceMode,
  type SequenceOrder,
  splitSequence,
} from '../../../src/dist/sequence/index.ts';
import { Gpt2, type LanguageModel, Llama } from '../../../src/models/index.ts';
import { type AttentionOptions, attention, placeParameters } from '../../../src/nn/index.ts';
import { grad, ops, scope, type Tensor } from '../../../src/tensor/index.ts';
import { thrown } from '../rankSupport.ts';

export interface SequenceInput {
  readonly heads: number;
  readonly kvHeads: number;
  /** Tokens of a rank. */
  readonly length: number;
  readonly size: number;
  readonly batch: number;
}

export interface SequenceResult {
  /** Largest difference of output and gradients of query, key and value, by case. */
  readonly attention: Record<string, number[]>;
  readonly received: Record<string, number>;
  /** Largest difference of the loss and of any parameter's gradient. */
  readonly models: Record<string, number[]>;
  readonly refusals: Record<string, string>;
}

/** Numbers that differ everywhere; the same on every rank. */
export function wave(shape: readonly number[], seed: number): Tensor {
  const count = shape.reduce((product, size) => product * size, 1);
  const values = Array.from({ length: count }, (_, i) => Math.sin(1.7 * i + seed) + Math.cos(0.31 * i * seed));
  return ops.fromArray(values, shape, { dtype: 'float64' });
}

export const furthest = (a: Tensor, b: Tensor): number => ops.maxAll(ops.abs(ops.sub(a, b))).item();

interface Case {
  readonly mode: (group: Group) => SequenceMode;
  readonly options: AttentionOptions;
}

const causal = { causal: true };
const cases: Record<string, Case> = {
  'scores full': { mode: (group) => new RingScores(group), options: { causal: false } },
  'scores causal': { mode: (group) => new RingScores(group), options: causal },
  'scores causal zigzag': { mode: (group) => new RingScores(group, 'zigzag'), options: causal },
  'scores window': { mode: (group) => new RingScores(group), options: { causal: true, window: 3 } },
  'scores alibi': { mode: (group) => new RingScores(group), options: { causal: true, alibi: true } },
  'heads full': { mode: (group) => new HeadExchange(group), options: { causal: false } },
  'heads causal': { mode: (group) => new HeadExchange(group), options: causal },
  'heads window': { mode: (group) => new HeadExchange(group), options: { causal: true, window: 3 } },
  'ring full': { mode: (group) => new RingAttention(group), options: { causal: false, scale: 0.7 } },
  'ring causal': { mode: (group) => new RingAttention(group), options: causal },
  'ring causal contiguous': { mode: (group) => new RingAttention(group, 'contiguous'), options: causal },
  'ring causal tiled': { mode: (group) => new RingAttention(group, 'zigzag', 2), options: causal },
};

export function run({ all }: Communicator, input: SequenceInput): SequenceResult {
  const result: SequenceResult = { attention: {}, received: {}, models: {}, refusals: {} };
  for (const [name, one] of Object.entries(cases)) {
    scope(() => {
      [result.attention[name], result.received[name]] = compare(one, all, input);
    });
  }
  for (const name of ['scores', 'heads', 'ring'] as const) {
    const makers = {
      scores: () => new RingScores(all),
      heads: () => new HeadExchange(all),
      ring: () => new RingAttention(all),
    };
    result.models[`llama ${name}`] = compareModel(llama(input), makers[name](), input);
    result.models[`gpt2 ${name}`] = compareModel(gpt2(input), makers[name](), input);
  }
  scope(() => Object.assign(result.refusals, refusals(all, input)));
  return result;
}

function compare(one: Case, group: Group, input: SequenceInput): [number[], number] {
  const { heads, kvHeads, length, size, batch } = input;
  const whole = length * group.size;
  const inputs = [heads, kvHeads, kvHeads].map((count, i) => wave([batch, count, whole, size], i + 1).requireGrad());
  const weight = wave([batch, heads, whole, size], 5);
  const expected = attention(inputs[0]!, inputs[1]!, inputs[2]!, one.options);
  const gradients = grad([expected], inputs, [weight]);

  const mode = one.mode(group);
  const part = (x: Tensor): Tensor => splitSequence(ops.detach(x), 2, mode.order, group);
  const own = inputs.map((x) => part(x).requireGrad());
  group.resetCounters();
  const got = mode.attention(own[0]!, own[1]!, own[2]!, one.options);
  const ownGradients = grad([got], own, [part(weight)]);
  const counters = group.counters();
  const received = Object.values(counters).reduce((sum, { elementsReceived }) => sum + elementsReceived, 0);
  const differences = gradients.map((gradient, i) => furthest(part(gradient!), ownGradients[i]!));
  return [[furthest(part(expected), got), ...differences], received];
}

const vocabulary = 11;

function llama({ heads, kvHeads, length }: SequenceInput): LanguageModel {
  return new Llama({
    vocab_size: vocabulary,
    hidden_size: heads * 4,
    intermediate_size: 10,
    num_hidden_layers: 2,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    head_dim: 4,
    max_position_embeddings: length * 4,
    rms_norm_eps: 1e-5,
    hidden_act: 'silu',
    rope_theta: 100,
    rope_scaling: { type: 'none' },
    initializer_range: 0.3,
    attention_bias: true,
    attention_output_bias: false,
    mlp_bias: false,
    qk_norm: true,
    sliding_window: null,
    layer_types: null,
    attention_dropout: 0,
    tie_word_embeddings: false,
  });
}

function gpt2({ heads, length }: SequenceInput): LanguageModel {
  return new Gpt2({
    vocab_size: vocabulary,
    n_positions: length * 4,
    n_embd: heads * 4,
    n_layer: 1,
    n_head: heads,
    n_inner: 10,
    activation_function: 'gelu_new',
    embd_pdrop: 0,
    attn_pdrop: 0,
    resid_pdrop: 0,
    layer_norm_epsilon: 1e-5,
    initializer_range: 0.3,
    tie_word_embeddings: true,
  });
}

/** Ids, and labels shifted by one; a rank's worth of them, and some more, without loss. */
function tokens(length: number, batch: number, silent: number): [Tensor, Tensor] {
  const ids = Array.from({ length: batch * (length + 1) }, (_, i) => (i * i * 7 + 3 * i + 5) % vocabulary);
  const rows = (shift: number): number[] =>
    Array.from({ length: batch * length }, (_, i) => ids[i + Math.floor(i / length) + shift]!);
  const labels = rows(1).map((label, i) => (i % length >= length - silent || i % 5 === 0 ? -100 : label));
  return [
    ops.fromArray(BigInt64Array.from(rows(0), BigInt), [batch, length]),
    ops.fromArray(BigInt64Array.from(labels, BigInt), [batch, length]),
  ];
}

function compareModel(model: LanguageModel, mode: SequenceMode, { length, batch }: SequenceInput): number[] {
  return scope(() => {
    placeParameters(model, { seed: 3, dtype: 'float64', device: 'cpu' });
    const parameters = model.parameters().map((parameter) => parameter.tensor);
    const [ids, labels] = tokens(length * mode.parts, batch, length);
    const expected = model.loss(ids, labels);
    const gradients = grad([expected], parameters);

    model.sequence = mode;
    const share = model.loss(ids, labels);
    const mean = ops.clone(ops.detach(share));
    mode.group.allReduce(mean).wait();
    const own = grad([share], parameters);
    const differences = own.map((gradient, i) => {
      const sum = ops.contiguous(ops.detach(gradient!));
      mode.group.allReduce(sum).wait();
      return furthest(ops.div(sum, mode.parts), gradients[i]!);
    });
    const result = [Math.abs(expected.item() - mean.item() / mode.parts), Math.max(...differences)];
    model.unplace();
    return result;
  });
}

function refusals(group: Group, { heads, length, size }: SequenceInput): Record<string, string> {
  const x = ops.zeros([1, heads, length, size], { dtype: 'float64' });
  const odd = ops.zeros([1, group.size + 1, length, size], { dtype: 'float64' });
  return {
    length: thrown(() => splitSequence(ops.zeros([1, 2 * group.size + 1]), 1, 'zigzag', group)).message,
    heads: thrown(() => new HeadExchange(group).attention(odd, odd, odd, causal)).message,
    dropout: thrown(() => new RingAttention(group).attention(x, x, x, { causal: true, dropout: 0.1 })).message,
  };
}

export type { SequenceOrder };
