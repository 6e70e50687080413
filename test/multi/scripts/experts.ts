/** Experts over ranks against all of them on one: differences and counts. */
import { expertParameters, SpreadExperts, spreadModel } from '../../../src/dist/experts/index.ts';
import type { Communicator, Group } from '../../../src/dist/index.ts';
import { Llama } from '../../../src/models/index.ts';
import { MoeBlock, type MoeOptions, placeParameters } from '../../../src/nn/index.ts';
import { grad, ops, scope, type Tensor } from '../../../src/tensor/index.ts';
import { tinyLlama, tinyMixture } from '../../cases/models.ts';
import { thrown } from '../rankSupport.ts';
import { furthest, wave } from './sequence.ts';

export interface ExpertsInput {
  readonly width: number;
  readonly experts: number;
  /** Tokens of each rank. */
  readonly uneven: readonly number[];
  readonly even: number;
}

export interface ExpertsResult {
  /** Largest difference of output and gradients of input, gate, experts, by case. */
  readonly differences: Record<string, number[]>;
  readonly received: Record<string, number>;
  /** Rows that each rank sends to the experts of each rank, in the uneven case with the most experts per token. */
  readonly rows: readonly number[];
  readonly refusal: string;
}

const hidden = 3;

export function run({ all }: Communicator, input: ExpertsInput): ExpertsResult {
  const result = { differences: {}, received: {}, rows: [], refusal: '' } as ExpertsResult & {
    rows: number[];
    refusal: string;
  };
  const { width, experts, uneven } = input;
  const common = { width, hidden, experts };
  const losses = { balanceWeight: 0.2, zWeight: 0.01 };
  const even = uneven.map(() => input.even);
  const cases: Record<string, [MoeOptions, readonly number[]]> = {
    'dropless top-1': [{ ...common, ...losses, k: 1 }, uneven],
    'dropless top-2': [{ ...common, ...losses, k: 2 }, uneven],
    'slots top-1': [{ ...common, k: 1, capacityFactor: 0.6, leastCapacity: 2 }, even],
    'slots top-2': [{ ...common, k: 2, capacityFactor: 1 }, even],
  };
  for (const [name, [options, tokens]] of Object.entries(cases)) {
    scope(() => {
      const compared = compare(options, tokens, all);
      result.differences[name] = compared.differences;
      result.received[name] = compared.received;
      if (name === 'dropless top-2') result.rows.push(...compared.rows);
    });
  }
  result.differences.mixtral = compareModel(all);
  result.refusal = thrown(() => new SpreadExperts(all).range(all.size + 1)).message;
  return result;
}

/** A Mixtral whose ranks have sequences of their own: loss and gradients of the mean over all of them. */
function compareModel(group: Group): number[] {
  const { rank, size } = group;
  return scope(() => {
    const make = (): Llama =>
      new Llama(
        tinyLlama({ mixture: tinyMixture, num_hidden_layers: 2, hidden_size: 16, head_dim: 4, intermediate_size: 12 }),
      );
    const placement = { seed: 5, dtype: 'float64', device: 'cpu' } as const;
    const [serial, spread] = [make(), make()];
    spreadModel(spread, new SpreadExperts(group));
    placeParameters(serial, placement);
    placeParameters(spread, placement);
    const ids = Array.from({ length: size * 6 }, (_, i) => (i * i * 5 + 3) % 67);
    const batch = ops.fromArray(ids, [size, 6], { dtype: 'int64' });
    const expected = serial.loss(batch, batch);
    const gradients = grad(
      [expected],
      serial.parameters().map(({ tensor }) => tensor),
    );
    const byName = new Map(serial.parameters().map(({ name }, i) => [name, gradients[i]!]));
    const own = expertParameters(spread);
    const part = ops.slice(batch, 0, rank, rank + 1);
    const loss = spread.loss(part, part);
    const parameters = spread.parameters().filter(({ isHere }) => isHere);
    const ownGradients = grad(
      [loss],
      parameters.map(({ tensor }) => tensor),
    );
    const mean = ops.clone(ops.detach(loss));
    group.allReduce(mean).wait();
    const differences = parameters.map((parameter, i) => {
      const sum = ops.contiguous(ops.clone(ownGradients[i]!));
      if (!own.has(parameter)) group.allReduce(sum).wait();
      return furthest(ops.div(sum, size), byName.get(parameter.name)!);
    });
    differences.push(Math.abs(mean.item() / size - expected.item()));
    serial.unplace();
    spread.unplace();
    return differences;
  });
}

function compare(options: MoeOptions, tokens: readonly number[], group: Group) {
  const { rank, size } = group;
  const starts = tokens.map((_, i) => tokens.slice(0, i).reduce((sum, count) => sum + count, 0));
  const total = tokens.reduce((sum, count) => sum + count, 0);
  const x = wave([total, options.width], 1.9);
  const weight = wave([total, options.width], 0.7);
  const part = (whole: Tensor, r: number): Tensor =>
    ops.contiguous(ops.slice(whole, 0, starts[r]!, starts[r]! + tokens[r]!));

  // All experts on one process. With slots each rank's tokens compete among themselves.
  const serial = new MoeBlock(options);
  placeParameters(serial, { seed: 8, dtype: 'float64', device: 'cpu' });
  const wholeX = ops.detach(x).requireGrad();
  const serialTensors = serial.parameters().map(({ tensor }) => tensor);
  const expected =
    options.capacityFactor === undefined
      ? serial.call(wholeX)
      : ops.cat(
          tokens.map((count, r) => serial.call(ops.slice(wholeX, 0, starts[r]!, starts[r]! + count))),
          0,
        );
  const gradients = grad([expected], [wholeX, ...serialTensors], [weight]);

  const spread = new MoeBlock(options);
  spreadModel(spread, new SpreadExperts(group));
  placeParameters(spread, { seed: 8, dtype: 'float64', device: 'cpu' });
  const ownX = part(x, rank).requireGrad();
  const own = expertParameters(spread);
  group.resetCounters();
  const got = spread.call(ownX);
  // Each rank's loss counts `size` times, so that the mean over ranks is the whole.
  const parameters = spread.parameters().filter(({ isHere }) => isHere);
  const ownWeight = ops.mul(part(weight, rank), size);
  const [inputGradient, ...ownGradients] = grad([got], [ownX, ...parameters.map(({ tensor }) => tensor)], [ownWeight]);
  const received = group.counters().allToAll.elementsReceived;
  const byName = new Map(serial.parameters().map(({ name }, i) => [name, gradients[i + 1]!]));
  const parameterDifferences = parameters.map((parameter, i) => {
    const sum = ops.clone(ownGradients[i]!);
    if (!own.has(parameter)) group.allReduce(sum).wait();
    return furthest(ops.div(sum, size), byName.get(parameter.name)!);
  });
  const differences = [...parameterDifferences];
  if (tokens[rank]! > 0) {
    differences.push(furthest(got, part(expected, rank)));
    differences.push(furthest(ops.div(inputGradient!, size), part(gradients[0]!, rank)));
  }
  const [, chosen] = ops.topk(ops.linear(x, serial.router.gate.weight.tensor), options.k, 1);
  const here = options.experts / size;
  const rows = tokens.flatMap((_, from) => {
    const ids = ops.toArray(part(chosen, from));
    return tokens.map((__, to) => ids.filter((id) => Math.floor(id / here) === to).length);
  });
  if (parameters.length !== 1 + 3 * here) throw new Error(`${parameters.length} parameters here`);
  serial.unplace();
  spread.unplace();
  return { differences, received, rows };
}
