/** Drawing the next token. */
import { ops, scope, type Tensor } from '../tensor/index.ts';

export interface SamplingSettings {
  /** 0 always takes the likeliest token. */
  readonly temperature: number;
  readonly topK: number | null;
  readonly topP: number;
}

/** logits `[vocabulary]` to a token id, with the device's default generator. Only ids below `limit` are drawn. */
export function drawToken(logits: Tensor, settings: SamplingSettings, limit: number): number {
  return scope(() => {
    const known = ops.slice(ops.to(logits, { dtype: 'float32' }), 0, 0, limit);
    if (settings.temperature === 0) return ops.argmax(known, 0).item();
    const [sorted, ids] = ops.sort(ops.div(known, settings.temperature), 0, true);
    const count = Math.min(settings.topK ?? limit, limit);
    const kept = ops.softmax(ops.slice(sorted, 0, 0, count), 0);
    const allowed = ops.slice(kept, 0, 0, settings.topP >= 1 ? count : nucleus(ops.toArray(kept), settings.topP));
    const place = ops.multinomial(allowed, 1).item();
    return ops.select(ids, 0, place).item();
  });
}

/** Number of likeliest tokens that together reach probability `topP` (Holtzman et al. 2020). */
function nucleus(probabilities: readonly number[], topP: number): number {
  let sum = 0;
  for (const [index, probability] of probabilities.entries()) {
    sum += probability;
    if (sum >= topP) return index + 1;
  }
  return probabilities.length;
}
