import type { Config } from '../config/index.ts';

export type MicroBatchOrder = Config['memory']['accumulation'];

/**
 * The order over micro-batches that `memory:` asks for. Where activations are kept, `auto` is horizontal: unit by unit, those of all
 * micro-batches of a step would have to be kept at once. Elsewhere it is left to who knows whether parameters move.
 */
export const orderAsked = ({ accumulation, activations }: Config['memory']): MicroBatchOrder =>
  accumulation === 'auto' && activations === 'keep' ? 'horizontal' : accumulation;
