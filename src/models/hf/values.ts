import { native } from '../../native/load.ts';
import type { Parameter, ValueSource } from '../../nn/index.ts';
import { adopt, dtypeBytes, dtypeCode } from '../../tensor/index.ts';
import type { BuiltModel } from '../build.ts';
import { openWeights } from './weights.ts';

/** First values of parameters, read from an open checkpoint. */
export interface CheckpointValues {
  readonly values: ValueSource;
  close(): void;
}

/** First values from the model's checkpoint folder, one parameter in memory at a time; null for random weights. */
export function valuesFor({ model, family, weights: folder }: BuiltModel): CheckpointValues | null {
  if (folder === null) return null;
  const { weights, close } = openWeights(folder, model, family);
  const byParameter = new Map(weights.map((entry) => [entry.parameter, entry]));
  const values = (parameter: Parameter) => {
    const entry = byParameter.get(parameter)!;
    const bytes = new Uint8Array(parameter.elements * dtypeBytes(entry.dtype));
    entry.readInto(bytes);
    return adopt(native().wrapBytes(bytes, parameter.shape, dtypeCode(entry.dtype)));
  };
  return { values, close };
}
