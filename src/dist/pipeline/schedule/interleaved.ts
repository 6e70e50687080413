/**
 * Interleaved 1F1B (Narayanan et al. 2021, section 2.2): every rank holds v stages, P apart, and passes micro-batches
 * through them in groups of P. The bubble shrinks v times; more activations are alive, and v times as much is sent.
 */
import { TierraError } from '../../../core/errors.ts';
import type { ComputeAction, ComputeOrder } from './types.ts';

/** Throws `E_CONFIG` unless the micro-batches fill whole groups: m % P = 0. */
export function interleaved(ranks: number, microBatches: number, chunks: number): ComputeOrder {
  if (microBatches % ranks !== 0) {
    const below = microBatches - (microBatches % ranks);
    const choices = [below, below + ranks].filter((count) => count > 0).join(' or ');
    throw new TierraError(
      'E_CONFIG',
      `interleaved pipeline: train.accumulate % parallel.pp must be 0, and ${microBatches} % ${ranks} = ${microBatches % ranks}`,
      { hint: `Set train.accumulate to ${choices}, or parallel.pipeline.schedule to 1f1b, which takes any number.` },
    );
  }
  const total = microBatches * chunks;
  const warmUps = Array.from({ length: ranks }, (_, rank) =>
    Math.min(2 * (ranks - rank - 1) + (chunks - 1) * ranks, total),
  );
  return {
    name: 'interleaved',
    ranks,
    microBatches,
    chunks,
    placement: 'loop',
    order: warmUps.map((warmUp, rank) => rankOrder(rank, warmUp, { ranks, chunks, total })),
    inFlightBound: warmUps.map((warmUp) => Math.min(warmUp + 1, total)),
  };
}

interface Shape {
  readonly ranks: number;
  readonly chunks: number;
  readonly total: number;
}

function rankOrder(rank: number, warmUp: number, shape: Shape): ComputeAction[] {
  const order: ComputeAction[] = [];
  for (let position = 0; position < shape.total + warmUp; position++) {
    if (position < shape.total) order.push(actionAt('forward', position, rank, shape));
    if (position >= warmUp) order.push(actionAt('backward', position - warmUp, rank, shape));
  }
  return order;
}

/** The k-th forward of a rank works on chunk (k mod Pv) / P; backwards run through the chunks the other way round. */
function actionAt(kind: 'forward' | 'backward', position: number, rank: number, shape: Shape): ComputeAction {
  const { ranks, chunks } = shape;
  const group = Math.floor(position / (ranks * chunks));
  const step = Math.floor((position % (ranks * chunks)) / ranks);
  const chunk = kind === 'forward' ? step : chunks - 1 - step;
  return { kind, stage: chunk * ranks + rank, microBatch: group * ranks + (position % ranks) };
}
