import { native } from '../../native/load.ts';
import { type Parameter, partOf, type ValueSource } from '../../nn/index.ts';
import { adopt, dtypeBytes, dtypeCode, scope } from '../../tensor/index.ts';
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
    // Files hold whole tensors; a rank with a part of one reads it and keeps its part.
    const { shape } = parameter.whole ?? parameter;
    const elements = shape.reduce((product, size) => product * size, 1);
    const bytes = new Uint8Array(elements * dtypeBytes(entry.dtype));
    entry.readInto(bytes);
    return scope(() => partOf(adopt(native().wrapBytes(bytes, shape, dtypeCode(entry.dtype))), parameter));
  };
  return { values, close };
}
