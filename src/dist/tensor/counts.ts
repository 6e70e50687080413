/** Elements that a rank receives in collectives, by the definitions of `CollectiveCounter`. */

/** Elements of part `index` of `total` split over `parts`: the first ones hold one more where it does not divide. */
export const partSize = (total: number, parts: number, index: number): number =>
  Math.floor(total / parts) + (index < total % parts ? 1 : 0);

/** All-reduce of `elements`: own part from all others, then all other parts. */
export function allReduceReceives(elements: number, rank: number, size: number): number {
  const own = partSize(elements, size, rank);
  return (size - 1) * own + elements - own;
}
