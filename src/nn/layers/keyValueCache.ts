import { ops, type Tensor } from '../../tensor/index.ts';

/** Keys and values of the positions seen so far, one pair per attention layer: generation computes only new tokens. */
export class KeyValueCache {
  readonly #layers: ({ key: Tensor; value: Tensor } | undefined)[] = [];

  /** Positions held. */
  get length(): number {
    return this.#layers[0]?.key.size(2) ?? 0;
  }

  /** Appends key and value `[batch, kvHeads, new, headSize]` of layer `layer`; returns all positions so far. */
  append(layer: number, key: Tensor, value: Tensor): readonly [Tensor, Tensor] {
    const before = this.#layers[layer];
    const all = (old: Tensor | undefined, now: Tensor): Tensor =>
      (old === undefined ? ops.clone(now) : ops.cat([old, now], 2)).keep();
    const entry = { key: all(before?.key, key), value: all(before?.value, value) };
    before?.key.dispose();
    before?.value.dispose();
    this.#layers[layer] = entry;
    return [entry.key, entry.value];
  }

  dispose(): void {
    for (const entry of this.#layers.splice(0)) {
      entry?.key.dispose();
      entry?.value.dispose();
    }
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
