/**
 * Parameters laid end to end, so that equal parts of them can be given to ranks. One flat holds what one set of units
 * uses, in one parameter group, trained or frozen; tied parameters have flats of their own.
 *
 * A flat is cut into pages of one canonical norm block (`native/src/optim/norms.h`): large parameters begin on a page,
 * small ones lie within one. Shards are whole pages, so no rank ever holds part of a block and every block's sum of squares is
 * the same for any number of ranks. What lies between parameters is padding and stays zero.
 *
 * Parameters begin with whole blocks of compressed moments: no scale is for two of them, or for elements on two ranks.
 */
import { roundUp } from '../../core/units.ts';
import { momentBlock } from '../../memory/index.ts';
import type { Parameter, Unit } from '../../nn/index.ts';

/** Elements of a canonical norm block. */
export const pageElements = 4096;

export interface FlatParameter {
  readonly parameter: Parameter;
  /** Its first element in the flat. */
  readonly offset: number;
}

export interface Flat {
  /** The first unit's name and a number: `h.3.1`. */
  readonly name: string;
  /** `Unit.index` of the units that use it: one, unless its parameters are tied. */
  readonly units: readonly number[];
  /** Parameter group, as updates number them. */
  readonly group: number;
  /** Which of the sets of ranks it is spread over, where there are several. */
  readonly spread: number;
  readonly trainable: boolean;
  /** By offset. */
  readonly parameters: readonly FlatParameter[];
  readonly pages: number;
}

/** Elements of a parameter that one rank holds, and where they are in its shard. */
export interface Slice {
  readonly parameter: Parameter;
  /** First element in the parameter, a multiple of `pageElements`. */
  readonly from: number;
  readonly elements: number;
  /** First element in the shard. */
  readonly offset: number;
}

/** Elements of each rank's shard, the last ones' padded. */
export function shardElements({ pages }: Flat, ranks: number): number {
  return Math.ceil(pages / ranks) * pageElements;
}

/** Elements of all shards together: what a gathered flat takes. */
export const gatheredElements = (flat: Flat, ranks: number): number => shardElements(flat, ranks) * ranks;

/** Lays the parameters of `units` out: a function of the model, its groups and what is spread over the same ranks alone. */
export function layFlats(
  units: readonly Unit[],
  groupOf: (parameter: Parameter) => number,
  spreadOf: (parameter: Parameter) => number = () => 0,
): Flat[] {
  const users = new Map<Parameter, Unit[]>();
  for (const unit of units) {
    for (const parameter of unit.parameters) {
      const known = users.get(parameter);
      if (known === undefined) users.set(parameter, [unit]);
      else known.push(unit);
    }
  }
  const families = new Map<string, { units: Unit[]; parameters: Parameter[] }>();
  for (const [parameter, usedBy] of users) {
    const key = [
      usedBy.map(({ index }) => index).join(),
      groupOf(parameter),
      parameter.trainable,
      spreadOf(parameter),
    ].join('|');
    const family = families.get(key);
    if (family === undefined) families.set(key, { units: usedBy, parameters: [parameter] });
    else family.parameters.push(parameter);
  }
  const numbers = new Map<Unit, number>();
  return Array.from(families.values(), ({ units: usedBy, parameters }) => {
    const [first] = usedBy;
    const number = numbers.get(first!) ?? 0;
    numbers.set(first!, number + 1);
    const { placed, pages } = fillPages(parameters);
    return {
      name: `${first!.name}.${number}`,
      units: usedBy.map(({ index }) => index),
      group: groupOf(parameters[0]!),
      spread: spreadOf(parameters[0]!),
      trainable: parameters[0]!.trainable,
      parameters: placed,
      pages,
    };
  });
}

/** Large parameters first, each from a page's beginning; small ones go where the first page with room is. */
function fillPages(parameters: readonly Parameter[]): { placed: FlatParameter[]; pages: number } {
  const placed: FlatParameter[] = [];
  /** Pages with room: their first free element in the flat. */
  const open: number[] = [];
  let pages = 0;
  const openFrom = (element: number): void => {
    if (element % pageElements !== 0) open.push(element);
  };
  const bySize = [...parameters].sort((a, b) => b.elements - a.elements);
  for (const parameter of bySize) {
    const elements = roundUp(parameter.elements, momentBlock);
    const found =
      elements > pageElements ? -1 : open.findIndex((from) => roundUp(from, pageElements) - from >= elements);
    const offset = found < 0 ? pages * pageElements : open.splice(found, 1)[0]!;
    if (found < 0) pages += Math.ceil(elements / pageElements);
    openFrom(offset + elements);
    placed.push({ parameter, offset });
  }
  return { placed: placed.sort((a, b) => a.offset - b.offset), pages };
}

/** What rank `rank` of `ranks` holds of the flat, ascending. */
export function slicesOf(flat: Flat, rank: number, ranks: number): Slice[] {
  const shard = shardElements(flat, ranks);
  const [begin, end] = [rank * shard, (rank + 1) * shard];
  return flat.parameters.flatMap(({ parameter, offset }) => {
    const first = Math.max(offset, begin);
    const last = Math.min(offset + parameter.elements, end);
    return last <= first ? [] : [{ parameter, from: first - offset, elements: last - first, offset: first - begin }];
  });
}

/** Ranges `[from, to)` of a gathered flat that belong to no parameter. */
export function gapsOf(flat: Flat, ranks: number): (readonly [from: number, to: number])[] {
  const gaps: [number, number][] = [];
  let at = 0;
  for (const { parameter, offset } of flat.parameters) {
    if (offset > at) gaps.push([at, offset]);
    at = offset + parameter.elements;
  }
  const end = gatheredElements(flat, ranks);
  if (end > at) gaps.push([at, end]);
  return gaps;
}
