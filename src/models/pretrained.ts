/** Models from and to Hugging Face folders, for scripts: `transformers` reads what is saved here, and the other way. */
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { TierraError } from '../core/errors.ts';
import { makeFolder } from '../core/files.ts';
import type { DeviceName } from '../native/binding.ts';
import { collectUnits, placeParameters } from '../nn/index.ts';
import { type Dtype, ops } from '../tensor/index.ts';
import { ShardedSafetensorsWriter, writeWholeFile } from '../tensor/safetensors/index.ts';
import { buildModel } from './build.ts';
import { hfConfigOf, hfConfigText, withDtype } from './hf/describe.ts';
import { hfName } from './hf/names.ts';
import { valuesFor } from './hf/values.ts';
import { safetensorsDtype } from './hf/weights.ts';
import type { LanguageModel } from './languageModel.ts';

export interface LoadOptions {
  /** Default `cpu`. */
  readonly device?: DeviceName;
  /** Element type of the parameters, whatever the file holds. Default `float32`. */
  readonly dtype?: Dtype;
}

/**
 * The model that `folder` describes (`config.json`, `model.safetensors` or its shards), with its weights in memory and
 * in evaluation mode; `model.train()` before training it. Throws `E_CHECKPOINT` where folder and model disagree, naming
 * the tensor; `E_UNSUPPORTED` for architectures we do not have and for pickled weights.
 */
export function loadPretrained(folder: string, { device = 'cpu', dtype = 'float32' }: LoadOptions = {}): LanguageModel {
  const built = buildModel({ path: folder, weights: true });
  const { model } = built;
  collectUnits(model);
  const source = valuesFor(built)!;
  try {
    placeParameters(model, { seed: 0, dtype, device, values: source.values });
  } catch (error) {
    model.unplace();
    throw error;
  } finally {
    source.close();
  }
  return model.eval();
}

export interface SaveOptions {
  /** Data bytes of one file; larger models are cut into shards with an index. Default 5 GB. */
  readonly maxShardBytes?: number;
}

/**
 * Writes a placed model as a Hugging Face folder: `config.json` and its tensors in the type they have, tied ones once.
 * `folder` is made when missing and must not hold a model yet (`E_CHECKPOINT`).
 */
export function savePretrained(model: LanguageModel, folder: string, options: SaveOptions = {}): void {
  const parameters = new Map(
    Array.from(model.namedParameters(), ([name, parameter]) => [hfName(model.family, name), parameter]),
  );
  const declarations = Array.from(parameters, ([name, { tensor, shape }]) => ({
    name,
    shape,
    dtype: safetensorsDtype(tensor.dtype),
  }));
  makeFolder(folder);
  refuseToOverwrite(folder);
  using writer = new ShardedSafetensorsWriter(folder, declarations, options);
  for (const name of writer.layout) writer.write(name, ops.toBytes(parameters.get(name)!.tensor));
  writer.finish();
  const config = withDtype(model.hfConfig ?? hfConfigOf(model), model.parameters()[0]!.tensor.dtype);
  writeWholeFile(path.join(folder, 'config.json'), Buffer.from(hfConfigText(config)));
}

function refuseToOverwrite(folder: string): void {
  const found = readdirSync(folder).find((name) => name === 'config.json' || name.includes('.safetensors'));
  if (found === undefined) return;
  throw new TierraError('E_CHECKPOINT', `${folder}: there is a model here already (${found})`, {
    hint: 'Choose another folder, or remove the old model first: nothing is overwritten.',
  });
}
