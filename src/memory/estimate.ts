import type { Layout } from './layout.ts';
import type { Machine } from './machine.ts';
import { type Accumulation, type Moment, type Pass, stepSignature, type Trace } from './trace.ts';

export interface EstimateOptions {
  readonly layout: Layout;
  readonly machine: Machine;
  readonly mode: 'training' | 'forward';
  readonly accumulation?: Accumulation;
  readonly microBatches?: number;
  /** Tokens (or samples times positions) in one micro-batch. */
  readonly tokens: number;
  /** Units compute their forward again in backward. */
  readonly recompute?: boolean;
  /** Multiply-adds per token that touch no parameter (attention scores), per unit. */
  readonly extraMacs?: (unit: number) => number;
  /** Elements of a unit that take part in matrix multiplications; without it all but embeddings' would be a guess, so all. */
  readonly matmulElements?: (unit: number) => number;
  /** Peak bytes beside the chunks while a unit works on one micro-batch. */
  readonly nonModelBytes?: (unit: number, pass: Pass) => number;
}

/**
 * The trace a step would leave, from arithmetic instead of a run: 2 FLOPs per matmul parameter and token forward, twice that backward,
 * and forward once more when activations are recomputed. Units run in order; free-form models are traced, not estimated.
 */
export function estimateTrace(options: EstimateOptions): Trace {
  const { layout, machine, mode, accumulation = 'horizontal', microBatches = 1, tokens, recompute = false } = options;
  const units = layout.chunksOfUnit.length;
  const elements = (unit: number): number =>
    options.matmulElements?.(unit) ??
    layout.chunksOfUnit[unit]!.reduce((sum, chunk) => sum + layout.chunks[chunk]!.usedElements, 0);
  const forwardSeconds = (unit: number): number =>
    (2 * tokens * (elements(unit) + (options.extraMacs?.(unit) ?? 0))) / machine.computeFlops;
  const moments: Moment[] = [];
  const visit = (pass: 'forward' | 'backward', unit: number, microBatch: number): void => {
    const cost = pass === 'forward' ? 1 : recompute ? 3 : 2;
    moments.push({
      index: moments.length,
      pass,
      unit,
      microBatch,
      chunks: layout.chunksOfUnit[unit]!,
      seconds: cost * forwardSeconds(unit) * (microBatch < 0 ? microBatches : 1),
      nonModelBytes: options.nonModelBytes?.(unit, pass) ?? 0,
    });
  };
  const runs = accumulation === 'vertical' ? [-1] : Array.from({ length: microBatches }, (_, index) => index);
  for (const microBatch of runs) {
    for (let unit = 0; unit < units; unit++) visit('forward', unit, microBatch);
    if (mode === 'training') for (let unit = units - 1; unit >= 0; unit--) visit('backward', unit, microBatch);
  }
  if (mode === 'training') {
    for (const pass of ['norm', 'update'] as const) {
      const index = moments.length;
      moments.push({ index, pass, unit: -1, microBatch: -1, chunks: [], seconds: 0, nonModelBytes: 0 });
    }
  }
  const signature = stepSignature([layout.hash, mode, accumulation, microBatches, tokens, recompute, 'estimated']);
  return { version: 1, signature, mode, accumulation, microBatches, moments };
}
