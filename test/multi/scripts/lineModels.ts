/**
 * GPT-2 and Llama, written once, under tensor parallelism and whole: loss and all gradients in float64, with units kept and
 * recomputed.
 */
import type { Communicator } from '../../../src/dist/index.ts';
import { makeMesh } from '../../../src/dist/mesh.ts';
import { type AnyPlace, blockLayers, type Groups, lineLayers, lineOf } from '../../../src/dist/tensor/index.ts';
import { Gpt2, type LanguageModel, Llama } from '../../../src/models/index.ts';
import {
  collectUnits,
  type Parameter,
  partOf,
  placeParameters,
  Tape,
  type Unit,
  type UnitHost,
  withLayers,
} from '../../../src/nn/index.ts';
import { grad, ops, scope, type Tensor } from '../../../src/tensor/index.ts';
import { tinyGpt2, tinyLlama } from '../../cases/models.ts';
import { thrown } from '../rankSupport.ts';

export interface ModelReport {
  readonly loss: number;
  /** Largest difference of any gradient, by policy. */
  readonly apart: Record<string, number>;
  readonly logitsApart: number;
  /** Of one forward and backward with units kept. */
  readonly elements: number;
  readonly parameters: number;
}

const tokensOf = (rows: number, tokenAt: (i: number) => number): Tensor =>
  ops.fromArray(
    BigInt64Array.from({ length: rows * 6 }, (_, i) => BigInt(tokenAt(i))),
    [rows, 6],
  );
const ids = tokensOf(4, (i) => (i * i * 5 + 3) % 61).keep();
const labels = tokensOf(4, (i) => (i === 4 || i > 17 ? -100 : (i * 7 + 1) % 61)).keep();

export const wholeModels: Record<string, () => LanguageModel> = {
  gpt2: () => new Gpt2(tinyGpt2({ n_head: 4 })),
  llama: () => new Llama(tinyLlama()),
  qwen: () => new Llama(tinyLlama({ attention_bias: true, qk_norm: true, tie_word_embeddings: true })),
};

export function run(communicator: Communicator): Record<string, ModelReport | string> {
  const place = lineOf(makeMesh(communicator, { tp: communicator.world.size }));
  const refused = thrown(() => withLayers(lineLayers(place), () => new Llama(tinyLlama({ num_key_value_heads: 1 }))));
  return { ...modelsAt(place), refused: refused.message };
}

export function modelsAt(place: AnyPlace): Record<string, ModelReport> {
  const groups: Groups = place.groups;
  const factory = place.kind === '1d' ? lineLayers(place) : blockLayers(place);
  const counted = (): number => Object.values(groups).reduce((sum, group) => sum + elementsOf(group.counters()), 0);
  return Object.fromEntries(
    Object.entries(wholeModels).map(([name, build]) => {
      const whole = build();
      const cut = withLayers(factory, build);
      for (const model of [whole, cut]) placeParameters(model, { seed: 5, dtype: 'float64', device: 'cpu' });
      for (const group of Object.values(groups)) group.resetCounters();
      const report = scope(() => compare(whole, cut, counted));
      const parameters = cut.parameters().reduce((sum, { elements }) => sum + elements, 0);
      for (const model of [whole, cut]) model.unplace();
      return [name, { ...report, parameters }];
    }),
  );
}

const elementsOf = (counters: object): number =>
  Object.values(counters).reduce((sum: number, { elementsReceived }) => sum + elementsReceived, 0);

function compare(whole: LanguageModel, cut: LanguageModel, counted: () => number): Omit<ModelReport, 'parameters'> {
  const parameters = [...cut.namedParameters()];
  const wholeLoss = whole.loss(ids, labels);
  const expected = grad(
    [wholeLoss],
    parameters.map(([name]) => whole.parameter(name).tensor),
  );
  const loss = cut.loss(ids, labels);
  const got = grad(
    [loss],
    parameters.map(([, { tensor }]) => tensor),
  );
  const elements = counted();
  const distance = (gradients: readonly (Tensor | null)[]): number =>
    Math.max(
      Math.abs(loss.item() - wholeLoss.item()),
      ...parameters.map(([, parameter], i) =>
        ops.maxAll(ops.abs(ops.sub(gradients[i]!, partOf(expected[i]!, parameter)))).item(),
      ),
    );
  const apart: Record<string, number> = { plain: distance(got) };
  const units = collectUnits(cut);
  for (const policy of ['keep', 'recompute'] as const) {
    for (const unit of units) unit.activations = policy;
    const host = new Collecting();
    const tape = new Tape(host);
    tape.backward(tape.record(() => cut.loss(ids, labels)));
    apart[policy] = distance(parameters.map(([, parameter]) => host.gradients.get(parameter)!));
  }
  // Rows that do not divide over the ranks of a square or a cube.
  const [some, someLabels] = [ids, labels].map((each) => ops.contiguous(ops.slice(each, 0, 0, 3))) as [Tensor, Tensor];
  apart.unevenRows = Math.abs(ops.sub(cut.loss(some, someLabels), whole.loss(some, someLabels)).item());
  const logits = ops.sub(cut.call({ ids: some }), whole.call({ ids: some }));
  return { loss: loss.item(), apart, logitsApart: ops.maxAll(ops.abs(logits)).item(), elements };
}

class Collecting implements UnitHost {
  readonly gradients = new Map<Parameter, Tensor>();
  acquire(): void {}
  release(): void {}
  park(): void {}
  unpark(): void {}
  gradientsReady(unit: Unit, _use: number, gradients: readonly (Tensor | null)[]): void {
    unit.parameters.forEach((parameter, index) => {
      const gradient = gradients[index];
      if (gradient == null) return;
      const sum = this.gradients.get(parameter);
      this.gradients.set(parameter, sum === undefined ? gradient : ops.add(sum, gradient).keep());
    });
  }
}
