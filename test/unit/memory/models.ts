import type { ParameterSpec } from '../../../src/memory/index.ts';

export interface LlamaShape {
  readonly layers: number;
  readonly hidden: number;
  readonly intermediate: number;
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly vocabulary: number;
  readonly tied?: boolean;
}

export const llama70b: LlamaShape = {
  layers: 80,
  hidden: 8192,
  intermediate: 28_672,
  heads: 64,
  keyValueHeads: 8,
  vocabulary: 128_256,
};

export const llama8b: LlamaShape = { ...llama70b, layers: 32, hidden: 4096, intermediate: 14_336, heads: 32 };

/** A Llama's parameters: unit 0 the embedding, one unit per block, the head last. */
export function llamaParameters(shape: LlamaShape, frozen: (name: string) => boolean = () => false): ParameterSpec[] {
  const { layers, hidden, intermediate, heads, keyValueHeads, vocabulary, tied = false } = shape;
  const keyValue = (hidden / heads) * keyValueHeads;
  const list: ParameterSpec[] = [];
  const add = (unit: number, name: string, elements: number, extra: Partial<ParameterSpec> = {}): void => {
    list.push({ id: list.length, name, unit, elements, trainable: !frozen(name), group: 0, ...extra });
  };
  add(0, 'embedding', vocabulary * hidden);
  for (let layer = 0; layer < layers; layer++) {
    const unit = layer + 1;
    add(unit, `${layer}.norm1`, hidden, { group: 1 });
    add(unit, `${layer}.query`, hidden * hidden);
    add(unit, `${layer}.key`, hidden * keyValue);
    add(unit, `${layer}.value`, hidden * keyValue);
    add(unit, `${layer}.output`, hidden * hidden);
    add(unit, `${layer}.norm2`, hidden, { group: 1 });
    add(unit, `${layer}.gate`, hidden * intermediate);
    add(unit, `${layer}.up`, hidden * intermediate);
    add(unit, `${layer}.down`, hidden * intermediate);
  }
  add(layers + 1, 'norm', hidden, { group: 1 });
  add(layers + 1, 'head', vocabulary * hidden, tied ? { tiedTo: 0 } : {});
  return list;
}
