/** A mixture of experts as a list of operators: each token's row once per expert it goes to. */
import type { MixtureConfig } from '../models/index.ts';
import { capacityOf } from '../nn/index.ts';
import { type BatchShape, linear } from './planBatch.ts';
import type { UnitOp } from './planOps.ts';

export interface MixtureShape {
  /** Tokens here. */
  readonly rows: number;
  readonly width: number;
  /** `copies` MLPs that share `count` rows. */
  readonly mlp: (input: string, output: string, count: number, copies: number) => UnitOp[];
}

/** Rows of this rank's tokens that go to experts: one for each choice, or every expert's slots. */
export function assignedRows(
  { num_local_experts: experts, num_experts_per_tok: k, expert_capacity_factor: factor }: MixtureConfig,
  tokens: number,
): number {
  return factor === undefined ? tokens * k : experts * capacityOf(tokens, k, experts, factor);
}

/** As many rows arrive as leave: with a capacity always, without one when all experts get the same. */
export function mixture(
  config: MixtureConfig,
  [input, output]: readonly [string, string],
  { rows, width, mlp }: MixtureShape,
  batch: BatchShape,
): UnitOp[] {
  const { num_local_experts: experts, num_experts_per_tok: k, expert_capacity_factor: factor } = config;
  const { elementBytes: size, wideBytes, expertRanks = 1 } = batch;
  const x = rows * width * size;
  const sent = assignedRows(config, rows);
  const slots = sent * width * size;
  const routed = {
    ...linear(input, 'routed', [rows, width, experts], batch, false),
    bytes: rows * experts * wideBytes,
  };
  const weighted: UnitOp[] = [
    { inputs: ['placed', 'routed'], output: 'weighted', bytes: k * x, saves: ['placed'] },
    { inputs: ['weighted'], output, bytes: x },
  ];
  const moved = (from: string, to: string): UnitOp => ({ inputs: [from], output: to, bytes: slots });
  const isHere = expertRanks === 1;
  const there = isHere ? 'sorted' : 'arrived';
  const results = isHere ? 'results' : 'results there';
  const inside = mlp(there, results, sent, experts / expertRanks);
  if (factor === undefined) {
    // Rows arrive rank by rank and are put in the order of experts, and back.
    const [going, coming] = isHere
      ? [[], []]
      : [
          [moved('sorted', 'by rank'), { ...moved('by rank', there), savedBytes: sent * 8 }],
          [{ ...moved(results, 'results by rank'), savedBytes: sent * 8 }, moved('results by rank', 'results')],
        ];
    return [
      routed,
      { inputs: [input], output: 'copies', bytes: k * x },
      { inputs: ['copies'], output: 'sorted', bytes: k * x, savedBytes: 2 * rows * k * 8 },
      ...going,
      ...inside,
      ...coming,
      { inputs: ['results'], output: 'placed', bytes: k * x },
      ...weighted,
    ];
  }
  // Slots are filled from the rows and a row of zeros; what is dropped takes such a row when results come back.
  const exchanged = (from: string, to: string): UnitOp => ({
    ...moved(from, to),
    forwardWork: 2 * slots,
    backwardWork: 2 * slots,
  });
  const row = width * size;
  return [
    routed,
    { inputs: [input], output: 'copies', bytes: 2 * k * x + row },
    {
      inputs: ['copies'],
      output: 'sorted',
      bytes: slots,
      savedBytes: (sent + rows * k) * 8,
      forwardWork: rows * k * experts * 24,
    },
    ...(isHere ? [] : [exchanged('sorted', there)]),
    ...inside,
    ...(isHere ? [] : [exchanged(results, 'results')]),
    { inputs: ['results'], output: 'padded', bytes: slots + row },
    { inputs: ['padded'], output: 'placed', bytes: k * x },
    ...weighted,
  ];
}
