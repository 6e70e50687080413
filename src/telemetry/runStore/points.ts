/** A run's steps as a few points, each of many neighbouring steps: what plots and totals are made of. */
import { sliceColumns } from './columns.ts';
import { type Piece, summaryOf } from './pieces.ts';
import { type BlockSummary, summarize } from './stepBuffer.ts';

export interface Point extends BlockSummary {
  readonly firstStep: number;
  readonly steps: number;
}

/** Up to this many steps every one is read; beyond, the summaries of blocks are precise enough for any terminal. */
const mostDecodedSteps = 200_000;

/** At most `count` points in order of their steps. */
export function pointsOf(pieces: readonly Piece[], count: number): Point[] {
  const total = pieces.reduce((sum, { steps }) => sum + steps, 0);
  const stride = Math.max(1, Math.ceil(total / count));
  const fine = total <= mostDecodedSteps ? pieces.flatMap((piece) => cut(piece, stride)) : pieces.map(whole);
  return merged(fine, stride, count);
}

/** Everything in one point; null for a run without steps. */
export const totalOf = (points: readonly Point[]): Point | null => (points.length === 0 ? null : merge(points));

const whole = (piece: Piece): Point => ({
  firstStep: piece.firstStep,
  steps: piece.steps,
  ...summaryOf(piece),
});

function cut(piece: Piece, stride: number): Point[] {
  const columns = piece.columns();
  const points: Point[] = [];
  for (let from = 0; from < piece.steps; from += stride) {
    const to = Math.min(piece.steps, from + stride);
    points.push({ firstStep: piece.firstStep + from, steps: to - from, ...summarize(sliceColumns(columns, from, to)) });
  }
  return points;
}

/** Neighbours together, so that each point has about `stride` steps and there are at most `count`. */
function merged(points: readonly Point[], stride: number, count: number): Point[] {
  const buckets: Point[][] = [];
  let steps = Number.POSITIVE_INFINITY;
  for (const point of points) {
    if (steps + point.steps > stride) {
      buckets.push([]);
      steps = 0;
    }
    buckets.at(-1)!.push(point);
    steps += point.steps;
  }
  const result = buckets.map(merge);
  return result.length <= count ? result : merged(result, stride * 2, count);
}

function merge(points: readonly Point[]): Point {
  const sum = (of: (point: Point) => number): number => points.reduce((total, point) => total + of(point), 0);
  const last = points.at(-1)!;
  return {
    firstStep: points[0]!.firstStep,
    steps: sum(({ steps }) => steps),
    lossMin: extreme(points, 'lossMin', Math.min),
    lossMean: mean(points, 'lossMean'),
    lossMax: extreme(points, 'lossMax', Math.max),
    lossLast: last.lossLast,
    normMean: mean(points, 'normMean'),
    normMax: extreme(points, 'normMax', Math.max),
    rateLast: last.rateLast,
    clipped: sum(({ clipped }) => clipped),
    notFinite: sum(({ notFinite }) => notFinite),
    tokens: sum(({ tokens }) => tokens),
    seconds: sum(({ seconds }) => seconds),
  };
}

type Nullable = 'lossMin' | 'lossMean' | 'lossMax' | 'normMean' | 'normMax';

function extreme(points: readonly Point[], key: Nullable, choose: (a: number, b: number) => number): number | null {
  const values = points.map((point) => point[key]).filter((value) => value !== null);
  return values.length === 0 ? null : values.reduce((a, b) => choose(a, b));
}

/** Weighted by steps. */
function mean(points: readonly Point[], key: Nullable): number | null {
  let [sum, steps] = [0, 0];
  for (const point of points) {
    const value = point[key];
    if (value === null) continue;
    sum += value * point.steps;
    steps += point.steps;
  }
  return steps === 0 ? null : sum / steps;
}
