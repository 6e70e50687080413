import { native } from '../native/load.ts';
import type { Tensor } from './tensor.ts';

/**
 * Starts reading tensors of one element, all on one device. The function that it returns waits for their numbers, and not for
 * what was launched after them, as `item()` would; the tensors may be gone by then.
 */
export function readLater(tensors: readonly Tensor[]): () => number[] {
  const reading = native().startReading(tensors.map(({ handle }) => handle));
  return () => native().finishReading(reading);
}
