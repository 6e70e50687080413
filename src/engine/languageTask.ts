import type { TokenBatch } from '../data/index.ts';
import { ops, type Tensor } from '../tensor/index.ts';
import type { Task } from './trainer.ts';

/** What of a batch of tokens a model is given. */
export type Tokens = Pick<TokenBatch, 'inputs' | 'labels' | 'shape'>;

/** Next-token prediction: the model returns its own loss. */
export function languageTask(device: string): Task<Tokens> {
  return {
    loss(engine, batch) {
      const { ids, labels } = tokenTensors(batch, device);
      const loss: Tensor = engine.forward({ ids, labels });
      ids.dispose();
      labels.dispose();
      return loss;
    },
    input: (batch) => tokenTensors(batch, device),
    tokens: ({ shape: [sequences, length] }) => sequences * length,
  };
}

/** A batch of ids and labels on `device`. */
export function tokenTensors({ inputs, labels, shape }: Tokens, device: string): { ids: Tensor; labels: Tensor } {
  return { ids: ops.fromArray(inputs, shape, { device }), labels: ops.fromArray(labels, shape, { device }) };
}
