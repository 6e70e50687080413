/** The proof that the tape is right: losses and gradients are bit for bit those of plain libtorch autograd. */
import { afterEach, describe, expect, it } from 'vitest';
import { Gpt2, Llama } from '../../src/models/index.ts';
import { native } from '../../src/native/load.ts';
import {
  type ActivationPolicy,
  type AnyModule,
  collectUnits,
  Dropout,
  Embedding,
  Linear,
  Module,
  type Parameter,
  placeParameters,
  randomKeys,
  Tape,
  type Unit,
  type UnitHost,
} from '../../src/nn/index.ts';
import { grad, ops, scope, type Tensor, withGrad } from '../../src/tensor/index.ts';
import { tinyGpt2, tinyLlama } from '../cases/models.ts';

/** Keeps the gradients of one micro-batch, sums of uses in the order they come. */
class CollectingHost implements UnitHost {
  readonly gradients = new Map<Parameter, Tensor>();
  readonly events: string[] = [];
  acquire(unit: Unit, pass: string): void {
    this.events.push(`acquire ${unit.name} ${pass}`);
  }
  release(unit: Unit, pass: string): void {
    this.events.push(`release ${unit.name} ${pass}`);
  }
  park(): void {}
  unpark(): void {}
  gradientsReady(unit: Unit, _use: number, gradients: readonly (Tensor | null)[]): void {
    for (const [index, parameter] of unit.parameters.filter((p) => p.trainable).entries()) {
      const gradient = gradients[index];
      if (gradient == null) continue;
      const sum = this.gradients.get(parameter);
      if (sum === undefined) this.gradients.set(parameter, gradient);
      else {
        this.gradients.set(parameter, ops.add(sum, gradient).keep());
        sum.dispose();
        gradient.dispose();
      }
    }
  }
}

const bytes = (tensor: Tensor): string => Buffer.from(ops.toBytes(tensor)).toString('hex');
const position = { seed: 7, step: 3, microBatch: 0 };

function compare(model: AnyModule, lossOf: () => Tensor, policies: readonly ActivationPolicy[]): void {
  const units = collectUnits(model);
  placeParameters(model, { seed: 11, dtype: 'float32', device: 'cpu' });
  const parameters = model.parameters();
  scope(lossOf); // tables that modules keep are made now
  const live = native().liveTensors();
  scope(() => {
    randomKeys.begin(position);
    const plainLoss = withGrad(lossOf);
    const plain = grad(
      [plainLoss],
      parameters.map((parameter) => parameter.tensor),
    ).map((gradient) => (gradient === null ? null : bytes(gradient)));
    expect(plain.some((gradient) => gradient !== null)).toBe(true);
    for (const policy of policies) {
      for (const unit of units) unit.activations = policy;
      const host = new CollectingHost();
      const tape = new Tape(host);
      randomKeys.begin(position);
      const loss = tape.record(lossOf);
      expect(bytes(loss)).toBe(bytes(plainLoss));
      tape.backward(loss);
      for (const [index, parameter] of parameters.entries()) {
        const own = host.gradients.get(parameter);
        expect(own === undefined ? null : bytes(own), `${policy}: ${parameter.name}`).toBe(plain[index]);
      }
      for (const tensor of host.gradients.values()) tensor.dispose();
    }
  });
  expect(native().liveTensors()).toBe(live);
  for (const parameter of parameters) parameter.unplace();
}

function randomIds(rows: number, length: number, vocabulary: number): Tensor {
  const values = Array.from({ length: rows * length }, (_, i) => (i * 7919 + 13) % vocabulary);
  return ops.fromArray(values, [rows, length], { dtype: 'int64' }).keep();
}

/** Skips over several units, a tied embedding, a tensor used twice in one unit, glue between units, two losses. */
class FreeForm extends Module<[Tensor], Tensor> {
  readonly embedding = new Embedding(23, 16).unit();
  readonly first = new Twice(16).unit();
  readonly second = new Merge(16).unit();
  readonly third = new Merge(16).unit();
  readonly head: Linear;

  constructor() {
    super();
    this.head = new Linear(16, 23, { bias: false, weight: this.embedding.weight }).unit();
  }

  forward(ids: Tensor): Tensor {
    const x = this.embedding.call(ids);
    const a = this.first.call(x);
    const b = this.second.call(a, x);
    const glue = ops.mul(ops.add(a, b), 0.5);
    const c = this.third.call(glue, x);
    const d = this.third.call(ops.tanh(c), a);
    return this.head.call(ops.add(d, x));
  }
}

class Twice extends Module<[Tensor], Tensor> {
  readonly inner: Linear;
  readonly drop = new Dropout(0.2);
  constructor(width: number) {
    super();
    this.inner = new Linear(width, width);
  }
  forward(x: Tensor): Tensor {
    return ops.add(ops.mul(x, this.drop.call(this.inner.call(x))), x);
  }
}

class Merge extends Module<[Tensor, Tensor], Tensor> {
  readonly left: Linear;
  readonly right: Linear;
  readonly drop = new Dropout(0.1);
  constructor(width: number) {
    super();
    this.left = new Linear(width, width);
    this.right = new Linear(width, width);
  }
  forward(a: Tensor, b: Tensor): Tensor {
    return ops.add(this.drop.call(this.left.call(a)), ops.mul(this.right.call(b), a));
  }
}

describe('tape', () => {
  const policies = ['keep', 'recompute'] as const;
  afterEach(() => randomKeys.begin({ seed: 0, step: 0, microBatch: 0 }));

  it('equals plain autograd for GPT-2 with dropout and a tied head', () => {
    const model = new Gpt2(tinyGpt2({ embd_pdrop: 0.1, attn_pdrop: 0.1, resid_pdrop: 0.1 }));
    const ids = randomIds(3, 10, model.vocabularySize);
    compare(model, () => model.loss(ids, ids), policies);
  });

  it('equals plain autograd for Llama with grouped heads', () => {
    const model = new Llama(tinyLlama({ attention_bias: true, qk_norm: true }));
    const ids = randomIds(2, 12, model.vocabularySize);
    compare(model, () => model.loss(ids, ids), policies);
  });

  it('equals plain autograd for a free-form model', () => {
    const model = new FreeForm();
    const ids = randomIds(2, 9, 23);
    const lossOf = () => {
      const logits = model.call(ids);
      const flat = ops.crossEntropy(ops.reshape(logits, [-1, 23]), ops.reshape(ids, [-1]));
      return ops.add(flat, ops.mul(ops.mean(ops.mul(logits, logits)), 0.01));
    };
    compare(model, lossOf, policies);
  });
});
