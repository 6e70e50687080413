/**
 * Where a sequence of units is cut into stages. A cut list holds the first unit of every stage but the first: `[3, 6]`
 * makes the stages 0..2, 3..5 and 6 to the end.
 */
import { TierraError } from '../../core/errors.ts';

/** Units of every stage, in order: `[first, end)`. */
export interface StageRange {
  readonly first: number;
  readonly end: number;
}

/** Throws `E_CONFIG` unless the cuts ascend within the model and make `stages` stages. */
export function givenCuts(units: number, stages: number, cuts: readonly number[]): StageRange[] {
  const edges = [0, ...cuts, units];
  const ascend = edges.every((edge, index) => Number.isSafeInteger(edge) && (index === 0 || edge > edges[index - 1]!));
  if (cuts.length !== stages - 1 || !ascend) {
    throw new TierraError(
      'E_CONFIG',
      `parallel.pipeline.cuts: [${cuts.join(', ')}] does not cut ${units} units into ${stages} stages`,
      {
        hint: `Give ${stages - 1} ascending numbers from 1 to ${units - 1}: the first unit of each stage after the first.`,
      },
    );
  }
  return cuts.concat(units).map((end, index) => ({ first: edges[index]!, end }));
}

/**
 * As many units in every stage; what is left over goes to the middle ones, as the ends hold embedding and head besides.
 */
export function uniformCuts(units: number, stages: number): StageRange[] {
  checkEnough(units, stages);
  const base = Math.floor(units / stages);
  const extra = units % stages;
  const firstExtra = Math.floor((stages - extra) / 2);
  let first = 0;
  return Array.from({ length: stages }, (_, stage) => {
    const own = base + (stage >= firstExtra && stage < firstExtra + extra ? 1 : 0);
    first += own;
    return { first: first - own, end: first };
  });
}

/**
 * The cut whose dearest stage is cheapest; among those, the one with the smallest sum of squares, so that the others
 * are even too. Dynamic programming over (stages, units): O(stages · units²).
 */
export function balancedCuts(costs: readonly number[], stages: number): StageRange[] {
  const units = costs.length;
  checkEnough(units, stages);
  const before = [0];
  for (const cost of costs) before.push(before.at(-1)! + cost);
  const cost = (first: number, end: number): number => before[end]! - before[first]!;
  interface Best {
    readonly max: number;
    readonly squares: number;
    readonly first: number;
  }
  // rows[s][end]: the best way to cut the first `end` units into s + 1 stages, and where its last one begins.
  const rows: (Best | undefined)[][] = [
    Array.from({ length: units + 1 }, (_, end) =>
      end === 0 ? undefined : { max: cost(0, end), squares: cost(0, end) ** 2, first: 0 },
    ),
  ];
  for (let stage = 1; stage < stages; stage++) {
    const previous = rows[stage - 1]!;
    rows.push(
      Array.from({ length: units + 1 }, (_, end) => {
        let best: Best | undefined;
        for (let first = stage; first < end; first++) {
          const earlier = previous[first];
          if (earlier === undefined) continue;
          const own = cost(first, end);
          const max = Math.max(earlier.max, own);
          const squares = earlier.squares + own ** 2;
          if (best === undefined || max < best.max || (max === best.max && squares < best.squares)) {
            best = { max, squares, first };
          }
        }
        return best;
      }),
    );
  }
  const ranges: StageRange[] = [];
  for (let stage = stages - 1, end = units; stage >= 0; stage--) {
    const { first } = rows[stage]![end]!;
    ranges.unshift({ first, end });
    end = first;
  }
  return ranges;
}

function checkEnough(units: number, stages: number): void {
  if (stages <= units) return;
  throw new TierraError(
    'E_CONFIG',
    `pipeline: parallel.pp x chunks = ${stages} stages, but the model has only ${units} units to share out`,
    { hint: 'Lower parallel.pp or parallel.pipeline.chunks, or take a model with more layers.' },
  );
}
