/**
 * How a tensor is cut over ranks: for each dimension the groups that cut it, outermost first. A dimension cut by `['weight',
 * 'input']` is split over the weight group, and each part over the input group. The layout travels with the tensor, so
 * nothing has to remember how many layers came before.
 */
import { TierraError } from '../../core/errors.ts';
import type { PartRange, WholeOf } from '../../nn/parameter.ts';
import { ops, type Tensor } from '../../tensor/index.ts';
import type { Group } from '../group.ts';
import { gatherFromGroup, scatterToGroup } from './operators.ts';

export interface Layout {
  /** The whole tensor's. */
  readonly shape: readonly number[];
  /** Parallel to `shape`: names of groups. */
  readonly cuts: readonly (readonly string[])[];
}

/** One rank's part of a tensor, and of what. A plain object, so that tapes and scopes see the tensor in it. */
export interface Sharded {
  readonly tensor: Tensor;
  readonly layout: Layout;
}

/** The groups of a place by the names that layouts use. */
export type Groups = Readonly<Record<string, Group>>;

/** `[8 over column, 6]`. */
export const layoutText = ({ shape, cuts }: Layout): string =>
  `[${shape.map((size, dim) => (cuts[dim]?.length ? `${size} over ${cuts[dim].join(' x ')}` : size)).join(', ')}]`;

export const sameLayout = (a: Layout, b: Layout): boolean => layoutText(a) === layoutText(b);

function groupOf(groups: Groups, name: string): Group {
  const group = groups[name];
  if (group !== undefined) return group;
  throw new TierraError('E_ARGUMENT', `there is no group "${name}" here, only ${Object.keys(groups).join(', ')}`);
}

/** Elements `begin` to `end` of a dimension of `size` that this rank holds. Throws where it does not divide. */
export function rangeOf(size: number, cut: readonly string[], groups: Groups, what: string): PartRange {
  let begin = 0;
  let length = size;
  for (const name of cut) {
    const group = groupOf(groups, name);
    if (length % group.size !== 0) {
      const factors = cut.map((one) => `${one} ${groupOf(groups, one).size}`).join(' x ');
      throw new TierraError('E_CONFIG', `${what} of ${size} does not divide by ${factors}`, {
        hint: 'Take a size that does, or fewer ranks for tensor parallelism.',
      });
    }
    length /= group.size;
    begin += length * group.rank;
  }
  return { begin, end: begin + length };
}

/**
 * The same for a dimension of `sections` equal sections side by side, such as query, key and value: the outermost group cuts each
 * by itself, the others cut what it left, laid end to end.
 */
export function rangesOf(
  size: number,
  cut: readonly string[],
  groups: Groups,
  what: string,
  sections = 1,
): readonly PartRange[] {
  if (sections === 1) return [rangeOf(size, cut, groups, what)];
  const section = size / sections;
  const own = rangeOf(section, cut.slice(0, 1), groups, what);
  const ranges = Array.from({ length: sections }, (_, at) => ({
    begin: at * section + own.begin,
    end: at * section + own.end,
  }));
  const { begin, end } = rangeOf((own.end - own.begin) * sections, cut.slice(1), groups, what);
  return within(ranges, begin, end);
}

/** Elements `begin` to `end` of ranges laid end to end. */
function within(ranges: readonly PartRange[], begin: number, end: number): PartRange[] {
  let at = 0;
  return ranges.flatMap((range) => {
    const first = at;
    at += range.end - range.begin;
    const [from, to] = [Math.max(begin, first), Math.min(end, at)];
    return to <= from ? [] : [{ begin: range.begin + from - first, end: range.begin + to - first }];
  });
}

/** This rank's number among those of `groups`, leaving out the groups in `without`. */
export function numberIn(groups: Groups, without: readonly string[] = []): number {
  return Object.entries(groups)
    .filter(([name]) => !without.includes(name))
    .reduce((number, [, { rank, size }]) => number * size + rank, 0);
}

/**
 * What this rank holds of a whole tensor, for parameters: their initial values are those of the whole. Ranks of groups that do not
 * cut it have copies. `sections`: of each dimension, default 1.
 */
export function wholeOf(layout: Layout, groups: Groups, what: string, sections: readonly number[] = []): WholeOf {
  const { shape, cuts } = layout;
  return {
    shape,
    ranges: shape.map((size, dim) => rangesOf(size, cuts[dim] ?? [], groups, what, sections[dim])),
    copy: numberIn(groups, cuts.flat()),
  };
}

/** This rank's part of a tensor that all ranks hold; no communication in forward, all-gathers in backward. */
export function cutTensor(whole: Tensor, cuts: Layout['cuts'], groups: Groups): Sharded {
  const layout = { shape: whole.shape, cuts };
  wholeOf(layout, groups, 'a dimension');
  let tensor = whole;
  cuts.forEach((cut, dim) => {
    for (const name of cut) tensor = scatterToGroup(tensor, groupOf(groups, name), dim);
  });
  return { tensor, layout };
}

/** The whole tensor on every rank: all-gathers in forward, own part in backward. */
export function joinTensor({ tensor, layout }: Sharded, groups: Groups): Tensor {
  let whole = tensor;
  layout.cuts.forEach((cut, dim) => {
    for (const name of [...cut].reverse()) whole = gatherFromGroup(whole, groupOf(groups, name), dim, false);
  });
  return whole;
}

/** Elements a rank receives when a tensor goes from one layout to another by way of `convert`. */
export function conversionElements(from: Layout, to: Layout, groups: Groups): number {
  const whole = from.shape.reduce((product, size) => product * size, 1);
  let elements = 0;
  let held = whole / parts(from, groups);
  from.cuts.forEach((cut, dim) => {
    for (const name of [...cut.slice(common(cut, to.cuts[dim] ?? []))].reverse()) {
      const { size } = groupOf(groups, name);
      elements += held * (size - 1);
      held *= size;
    }
  });
  return elements;
}

/** To another layout: gathers what is cut otherwise, then takes its part. Explicit, since it costs `conversionElements`. */
export function convert({ tensor, layout }: Sharded, cuts: Layout['cuts'], groups: Groups): Sharded {
  let moved = tensor;
  layout.cuts.forEach((cut, dim) => {
    for (const name of [...cut.slice(common(cut, cuts[dim] ?? []))].reverse()) {
      moved = gatherFromGroup(moved, groupOf(groups, name), dim, false);
    }
  });
  cuts.forEach((cut, dim) => {
    for (const name of cut.slice(common(cut, layout.cuts[dim] ?? []))) {
      moved = scatterToGroup(moved, groupOf(groups, name), dim);
    }
  });
  return { tensor: moved, layout: { shape: layout.shape, cuts } };
}

/** How many outer cuts two dimensions share. */
function common(a: readonly string[], b: readonly string[]): number {
  let count = 0;
  while (count < a.length && a[count] === b[count]) count++;
  return count;
}

const parts = ({ cuts }: Layout, groups: Groups): number =>
  cuts.flat().reduce((product, name) => product * groupOf(groups, name).size, 1);

/** The same layout around what `apply` makes of the tensor: for what works on each element alone. */
export function mapElements({ tensor, layout }: Sharded, apply: (tensor: Tensor) => Tensor): Sharded {
  return { tensor: apply(tensor), layout };
}

/** `a + b`, of one layout. */
export function addSharded(a: Sharded, b: Sharded): Sharded {
  requireLayout('addition', b, a.layout);
  return { tensor: ops.add(a.tensor, b.tensor), layout: a.layout };
}

/** Throws `E_ARGUMENT` with both layouts where they differ. */
export function requireLayout(what: string, x: Sharded, wanted: Layout): void {
  if (sameLayout(x.layout, wanted)) return;
  throw new TierraError('E_ARGUMENT', `${what} takes ${layoutText(wanted)}, got ${layoutText(x.layout)}`, {
    hint: 'convert() changes a layout; it communicates, so it is never done silently.',
  });
}
