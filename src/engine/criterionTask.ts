import type { Tensor } from '../tensor/index.ts';
import type { Task } from './trainer.ts';

/** One batch of a dataset of your own: what the model takes, and what the criterion compares its output with. */
export interface LabelledBatch<Input = Tensor, Label = Tensor> {
  readonly input: Input;
  readonly label: Label;
}

/** The loss is `engine.criterion(engine.forward(input), label)`; `samples` counts a batch for throughput. */
export function criterionTask<Input = Tensor, Label = Tensor>(
  samples: (batch: LabelledBatch<Input, Label>) => number = () => 1,
): Task<LabelledBatch<Input, Label>> {
  return {
    loss: (engine, { input, label }) => engine.criterion(engine.forward(input), label),
    tokens: samples,
  };
}
