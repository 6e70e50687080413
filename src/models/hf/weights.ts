/** Weights between a Hugging Face folder and a model whose parameters may live on any tier. */
import { TierraError } from '../../core/errors.ts';
import { nearest } from '../../core/nearest.ts';
import type { AnyModule, Parameter } from '../../nn/index.ts';
import type { Dtype } from '../../tensor/index.ts';
import { openSafetensorsFolder, type SafetensorsDtype, type TensorSource } from '../../tensor/safetensors/index.ts';
import type { ModelFamily } from './config.ts';
import { alternativeNames, hfName } from './names.ts';

const dtypes: Partial<Record<SafetensorsDtype, Dtype>> = {
  F64: 'float64',
  F32: 'float32',
  F16: 'float16',
  BF16: 'bfloat16',
};

/** Optimizer state may also be in integers. */
const safetensorsNames = new Map<Dtype, SafetensorsDtype>([
  ...Object.entries(dtypes).map(([name, dtype]) => [dtype, name as SafetensorsDtype] as const),
  ['int16', 'I16'],
  ['uint8', 'U8'],
]);

export function safetensorsDtype(dtype: Dtype): SafetensorsDtype {
  const name = safetensorsNames.get(dtype);
  if (name === undefined) throw new TierraError('E_UNSUPPORTED', `weights of type ${dtype} cannot be saved`);
  return name;
}

/** One parameter's bytes in a checkpoint. */
export interface WeightBytes {
  readonly parameter: Parameter;
  /** The tensor's name in the checkpoint. */
  readonly name: string;
  readonly dtype: Dtype;
  /** Copies the elements from `byteOffset` on into `into`. */
  readInto(into: Uint8Array, byteOffset?: number): void;
}

/**
 * Matches a checkpoint's tensors with the model's parameters before anything is read: every parameter must be there
 * with its shape, and nothing may be left over. Throws `E_CHECKPOINT` naming what does not fit. Close the source when done.
 */
export function openWeights(
  folder: string,
  model: AnyModule,
  family: ModelFamily,
): { readonly weights: readonly WeightBytes[]; close(): void } {
  const source = openSafetensorsFolder(folder);
  try {
    const known = new Set(source.names());
    const weights = Array.from(model.namedParameters(), ([name, parameter]) =>
      match(source, known, folder, hfName(family, name), family, parameter),
    );
    refuseUnused(folder, known, new Set(weights.map(({ name }) => name)));
    return { weights, close: () => source.close() };
  } catch (error) {
    source.close();
    throw error;
  }
}

function match(
  source: TensorSource,
  known: ReadonlySet<string>,
  folder: string,
  wanted: string,
  family: ModelFamily,
  parameter: Parameter,
): WeightBytes {
  const name = [wanted, ...alternativeNames(family, wanted)].find((candidate) => known.has(candidate));
  if (name === undefined) {
    const near = nearest(wanted, known);
    throw new TierraError('E_CHECKPOINT', `${folder}: there is no tensor ${wanted}`, {
      hint:
        near === undefined
          ? 'The checkpoint is of another model.'
          : `The nearest name there is ${near}: is it of another model?`,
    });
  }
  const info = source.info(name);
  const { shape } = parameter.whole ?? parameter;
  if (info.shape.join() !== shape.join()) {
    throw new TierraError('E_CHECKPOINT', `${folder}: ${name} has shape [${info.shape}], the model needs [${shape}]`, {
      hint: 'config.json and the weights disagree, or the checkpoint is of another model.',
    });
  }
  const dtype = dtypes[info.dtype];
  if (dtype === undefined) {
    throw new TierraError('E_UNSUPPORTED', `${folder}: ${name} has elements of type ${info.dtype}`, {
      hint: 'Weights must be F64, F32, F16 or BF16; quantised checkpoints are not supported.',
    });
  }
  return { parameter, name, dtype, readInto: (into, byteOffset = 0) => source.readInto(name, into, byteOffset) };
}

/** Tensors that files in the wild carry beside the parameters: constants, and the tied head a second time. */
const constants = /\.attn\.(masked_)?bias$|\.rotary_emb\.inv_freq$|^lm_head\.weight$/;

/** A tensor without a parameter means that the model would compute something else than the one that was saved. */
function refuseUnused(folder: string, known: ReadonlySet<string>, used: ReadonlySet<string>): void {
  const unused = [...known].filter((name) => !used.has(name) && !constants.test(name));
  if (unused.length === 0) return;
  const shown = unused.slice(0, 3).join(', ') + (unused.length > 3 ? ', …' : '');
  const tensors = unused.length === 1 ? 'a tensor' : `${unused.length} tensors`;
  throw new TierraError('E_CHECKPOINT', `${folder}: holds ${tensors} that the model has no parameter for: ${shown}`, {
    hint: 'config.json and the weights disagree (number of layers, biases, norms), or the checkpoint is of another model.',
  });
}
