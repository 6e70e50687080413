/**
 * The indices 0..n-1 in an order whose every prefix is spread evenly over them (van der Corput: bits reversed), so that
 * "the first k" is a strided choice: links are loaded evenly through the depth of the model.
 */
export function spreadOrder(count: number): number[] {
  const bits = Math.max(1, Math.ceil(Math.log2(Math.max(2, count))));
  const order: number[] = [];
  for (let i = 0; i < 1 << bits; i++) {
    let reversed = 0;
    for (let bit = 0; bit < bits; bit++) if ((i >> bit) & 1) reversed |= 1 << (bits - 1 - bit);
    if (reversed < count) order.push(reversed);
  }
  return order;
}

/** `items`, reordered so that every prefix is spread evenly over their order. */
export function spread<T>(items: readonly T[]): T[] {
  return spreadOrder(items.length).map((index) => items[index]!);
}
