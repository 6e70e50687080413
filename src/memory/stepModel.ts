import { check } from '../core/errors.ts';
import { accumulatorBytes, type Chunk, parameterBytes } from './chunk.ts';
import type { Layout } from './layout.ts';
import { stateBytes } from './statePlanes.ts';
import type { Moment, Trace } from './trace.ts';
import type { ElementBytes } from './types.ts';

/** One backward use of a chunk: the gradient it leaves behind. */
export interface GradientUse {
  readonly moment: number;
  /** Which use of the chunk within a micro-batch, counted in forward order: tied chunks have several. */
  readonly part: number;
  readonly microBatch: number;
  /** The parameter is not needed after it, so the gradient may lie in its place. */
  readonly takesOver: boolean;
}

/** What the step does with one chunk. */
export interface ChunkUse {
  readonly chunk: Chunk;
  readonly moments: readonly number[];
  readonly gradients: readonly GradientUse[];
  /** Gradient parts: uses within one micro-batch. 0 when it gets no gradient. */
  readonly parts: number;
  readonly parameterBytes: number;
  readonly stateBytes: number;
  /** Size of one part as it leaves the GPU, and as it rests until the update. */
  readonly leavingBytes: number;
  readonly restingBytes: number;
}

/** Trace and layout brought together: the planner's only view of a step. */
export interface StepModel {
  readonly layout: Layout;
  readonly trace: Trace;
  readonly types: ElementBytes;
  /** Updates must wait for the norm (or an overflow check) unless they speculate. */
  readonly clipping: boolean;
  /** Chunks may be updated on the GPU. */
  readonly statesOnGpu: boolean;
  readonly uses: readonly ChunkUse[];
  /** Gradients are sums in the master's type, on the host (horizontal) or on the GPU (vertical). */
  readonly accumulates: boolean;
  readonly vertical: boolean;
  /** Index of the `norm` moment, -1 in forward-only steps. */
  readonly normMoment: number;
}

export interface StepModelInput {
  readonly layout: Layout;
  readonly trace: Trace;
  readonly types: ElementBytes;
  readonly clipping: boolean;
  readonly statesOnGpu?: boolean;
}

/** Throws `E_ARGUMENT` for a trace that is not a step of this layout. */
export function modelStep({ layout, trace, types, clipping, statesOnGpu = true }: StepModelInput): StepModel {
  const normMoment = trace.moments.findIndex((moment) => moment.pass === 'norm');
  const training = trace.mode === 'training';
  const last = trace.moments.length - 1;
  check(last >= 0, 'planner: the trace has no moments');
  check(
    !training || (normMoment === last - 1 && trace.moments[last]!.pass === 'update'),
    'planner: a training trace ends with the moments norm and update',
  );
  const accumulates = trace.microBatches > 1;
  const vertical = trace.accumulation === 'vertical';
  const shape = { training, accumulates, vertical };
  const moments: number[][] = layout.chunks.map(() => []);
  for (const moment of trace.moments) {
    for (const chunk of moment.chunks) {
      check(
        moments[chunk] !== undefined,
        `planner: moment ${moment.index} uses chunk ${chunk}, the layout has ${layout.chunks.length}`,
      );
      if (moments[chunk].at(-1) !== moment.index) moments[chunk].push(moment.index);
    }
  }
  const uses = layout.chunks.map((chunk) => chunkUse(chunk, moments[chunk.id]!, trace, types, shape));
  return { layout, trace, types, clipping, statesOnGpu, uses, accumulates, vertical, normMoment };
}

function chunkUse(
  chunk: Chunk,
  moments: readonly number[],
  trace: Trace,
  types: ElementBytes,
  shape: { readonly training: boolean; readonly accumulates: boolean; readonly vertical: boolean },
): ChunkUse {
  const backward =
    shape.training && chunk.trainable ? moments.filter((m) => trace.moments[m]!.pass === 'backward') : [];
  const perMicroBatch = new Map<number, number[]>();
  for (const moment of backward) {
    const key = trace.moments[moment]!.microBatch;
    perMicroBatch.set(key, [...(perMicroBatch.get(key) ?? []), moment]);
  }
  const keys = gradientKeys(trace, backward);
  const parts = Math.max(keys.length, ...[...perMicroBatch.values()].map((list) => list.length));
  const sumOnGpu = shape.accumulates && shape.vertical;
  const gradients = [...perMicroBatch].flatMap(([microBatch, list]) =>
    list.map((moment, position) => ({
      moment,
      part: parts - 1 - (keys.length > 0 ? keys.indexOf(gradientKey(trace.moments[moment]!)) : position),
      microBatch,
      takesOver: moment === moments.at(-1) && !sumOnGpu,
    })),
  );
  const last = moments.at(-1);
  check(
    parts === 0 || trace.moments[last!]!.pass === 'backward',
    `planner: chunk ${chunk.id} is used at moment ${last}, after its last gradient`,
  );
  const own = parameterBytes(chunk, types);
  const sum = accumulatorBytes(chunk, types);
  return {
    chunk,
    moments,
    gradients: gradients.sort((a, b) => a.moment - b.moment),
    parts,
    parameterBytes: own,
    stateBytes: parts > 0 ? stateBytes(chunk, types) : 0,
    leavingBytes: sumOnGpu ? sum : own,
    restingBytes: shape.accumulates ? sum : own,
  };
}

const gradientKey = ({ unit, use }: Moment): string => `${unit}.${use}`;

/**
 * The uses of a chunk (`unit.use`) in the order in which backward first met them, where the trace tells them apart; part
 * `p` of its gradient belongs to the use at `parts - 1 - p`. `moments` are those of its backward uses.
 */
export function gradientKeys(trace: Trace, moments: readonly number[]): readonly string[] {
  const all = moments.map((moment) => trace.moments[moment]!);
  return all.some(({ use }) => use === undefined) ? [] : [...new Set(all.map(gradientKey))];
}
