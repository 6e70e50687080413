/** Where the elements that a store's entry holds are in the whole tensor, when other ranks hold the rest of it. */
import type { Parameter } from '../nn/index.ts';
import type { StateEntry } from '../offload/store.ts';

/** Elements that lie together both in the entry and, in row-major order, in the whole tensor. */
export interface Run {
  /** First element in the whole tensor, and in the entry. */
  readonly begin: number;
  readonly offset: number;
  readonly elements: number;
}

export const wholeShape = (parameter: Parameter): readonly number[] => parameter.whole?.shape ?? parameter.shape;

/** Ascending in the entry. One for an entry of a whole tensor. */
export function runsOf({ parameter, part, shape }: Pick<StateEntry, 'parameter' | 'part' | 'shape'>): Run[] {
  // Of another shape than the parameter: only where no rank computes with a part of it.
  if (shape !== undefined) {
    const { begin, elements } = part ?? { begin: 0, elements: shape.reduce((product, size) => product * size, 1) };
    return [{ begin, offset: 0, elements }];
  }
  const first = part?.begin ?? 0;
  const end = first + (part?.elements ?? parameter.elements);
  return mergedRuns(parameter).flatMap(({ begin, offset, elements }) => {
    const from = Math.max(first, offset);
    const to = Math.min(end, offset + elements);
    return to <= from ? [] : [{ begin: begin + from - offset, offset: from - first, elements: to - from }];
  });
}

/** Runs of all that this rank holds of the parameter's whole tensor. */
function mergedRuns({ whole, elements }: Parameter): Run[] {
  if (whole === null) return [{ begin: 0, offset: 0, elements }];
  const runs: Run[] = [];
  const visit = (dim: number, begin: number, strides: readonly number[]): void => {
    if (dim === whole.shape.length) {
      push(runs, begin, 1);
      return;
    }
    const stride = strides[dim]!;
    const inner = whole.ranges.slice(dim + 1);
    const complete = inner.every(
      (ranges, index) =>
        ranges.length === 1 && ranges[0]!.begin === 0 && ranges[0]!.end === whole.shape[dim + 1 + index],
    );
    for (const range of whole.ranges[dim]!) {
      if (complete) push(runs, begin + range.begin * stride, (range.end - range.begin) * stride);
      else for (let at = range.begin; at < range.end; at++) visit(dim + 1, begin + at * stride, strides);
    }
  };
  visit(0, 0, rowMajorStrides(whole.shape));
  return runs;
}

function push(runs: Run[], begin: number, elements: number): void {
  const last = runs.at(-1);
  const offset = last === undefined ? 0 : last.offset + last.elements;
  if (last !== undefined && last.begin + last.elements === begin) {
    runs[runs.length - 1] = { ...last, elements: last.elements + elements };
  } else runs.push({ begin, offset, elements });
}

const rowMajorStrides = (shape: readonly number[]): number[] =>
  shape.map((_, dim) => shape.slice(dim + 1).reduce((product, size) => product * size, 1));
