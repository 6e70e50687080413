import { type BuiltModel, openWeights } from '../models/index.ts';
import { native } from '../native/load.ts';
import type { Parameter, ValueSource } from '../nn/index.ts';
import { adopt, dtypeBytes, dtypeCode } from '../tensor/index.ts';

/** First values from the model's checkpoint folder, one parameter in memory at a time; null for random weights. */
export function valuesFor({
  model,
  family,
  weights: folder,
}: BuiltModel): { values: ValueSource; close(): void } | null {
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
