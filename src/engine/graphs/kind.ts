/** What a graph is recorded for: two inputs of one kind differ in nothing but what their tensors hold. */
import { native } from '../../native/load.ts';
import type { Tensor } from '../../tensor/index.ts';
import { forEachTensor, mapTensors } from '../../tensor/scope.ts';

/** The input's tensors, each once, in the order in which they are met. */
export function tensorsIn(input: unknown): Tensor[] {
  const found = new Set<Tensor>();
  forEachTensor(input, (tensor) => found.add(tensor));
  return [...found];
}

/**
 * Equal for inputs of one kind. Null where no graph can stand for the input: it holds something other than plain values and packed
 * tensors on `device`, such as a cache.
 */
export function kindOf(input: unknown, device: string): string | null {
  const tensors = tensorsIn(input);
  if (!tensors.every((tensor) => isPlain(tensor, device))) return null;
  const shapes = tensors.map(({ dtype, shape }) => `${dtype}[${shape}]`);
  const frame = frameOf(mapTensors<unknown>(input, (tensor) => new Place(tensors.indexOf(tensor)) as never));
  return frame === null ? null : `${frame} ${shapes.join(' ')}`;
}

/** Stands for a tensor: the same one at two places is another kind than two that are equal. */
class Place {
  readonly index: number;

  constructor(index: number) {
    this.index = index;
  }
}

function frameOf(value: unknown): string | null {
  if (value instanceof Place) return `#${value.index}`;
  if (value === null || typeof value !== 'object') return typeof value === 'function' ? null : plainText(value);
  if (Array.isArray(value)) return joined(value.map(frameOf), '[', ']');
  if (Object.getPrototypeOf(value) !== Object.prototype) return null;
  const fields = Object.entries(value).map(([key, item]) => {
    const frame = frameOf(item);
    return frame === null ? null : `${JSON.stringify(key)}:${frame}`;
  });
  return joined(fields, '{', '}');
}

const plainText = (value: unknown): string | null =>
  typeof value === 'symbol' ? null : typeof value === 'string' ? JSON.stringify(value) : `${typeof value} ${value}`;

const joined = (parts: readonly (string | null)[], open: string, close: string): string | null =>
  parts.includes(null) ? null : `${open}${parts.join()}${close}`;

function isPlain(tensor: Tensor, device: string): boolean {
  const { strides, requiresGrad } = native().info(tensor.handle);
  if (requiresGrad || tensor.device !== device) return false;
  let expected = 1;
  for (const [dim, size] of [...tensor.shape.entries()].reverse()) {
    if (size !== 1 && strides[dim] !== expected) return false;
    expected *= size;
  }
  return true;
}
