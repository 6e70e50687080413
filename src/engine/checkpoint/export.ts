/** A checkpoint's weights as a plain Hugging Face folder of their own. */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { TierraError } from '../../core/errors.ts';
import { fsyncFolder, makeFolder, withIo } from '../../core/files.ts';
import {
  dtypeBytes,
  type SafetensorsDtype,
  type ShardOptions,
  type TensorSource,
} from '../../tensor/safetensors/index.ts';
import { contentFile, copiedFile, type TensorEntry, tensorFiles } from './content.ts';
import { conversion } from './convert.ts';
import { currentRunId } from './names.ts';
import { openTensors } from './slices.ts';
import { verifyCheckpoint } from './verify.ts';

/** As Hugging Face spells them in `config.json`. */
export const exportTypes = { fp32: ['F32', 'float32'], bf16: ['BF16', 'bfloat16'] } as const;

export interface ExportOptions extends ShardOptions {
  /** Default: as they were trained. fp32 takes the master weights where there are any. */
  readonly dtype?: keyof typeof exportTypes;
}

export interface Exported {
  readonly bytes: number;
  readonly tensors: number;
  /** How many of them are master weights, more exact than what the model computed with. */
  readonly masters: number;
}

/**
 * Writes the weights of a verified checkpoint, its `config.json` and its tokenizer into the new folder `target`, which
 * appears whole or not at all. Throws `E_ARGUMENT` when `target` holds anything, and what `verifyCheckpoint` throws.
 */
export async function exportWeights(
  checkpoint: string,
  target: string,
  options: ExportOptions = {},
): Promise<Exported> {
  refuseFull(target);
  await verifyCheckpoint(checkpoint);
  const from = join(checkpoint, 'model');
  const weights = openTensors(from, 'model');
  const states = options.dtype === 'fp32' ? mastersOf(checkpoint) : null;
  try {
    const entries = weights.names().map((name) => entryFor(name, weights, states, options.dtype));
    const temporary = `${resolve(target)}.tmp-${currentRunId()}`;
    makeFolder(dirname(temporary));
    withIo('create the folder', temporary, () => mkdirSync(temporary));
    try {
      const { dtype: _, ...shards } = options;
      const files = [
        ...smallFiles(from, options.dtype),
        tensorFiles(
          'model',
          entries.map(({ entry }) => entry),
          shards,
        ),
      ];
      let bytes = 0;
      for (const file of files) for (const written of await file.write(temporary)) bytes += written.bytes;
      withIo('rename', temporary, () => {
        fsyncFolder(join(temporary, 'model'));
        if (existsSync(target)) rmSync(target, { recursive: true });
        renameSync(join(temporary, 'model'), target);
        fsyncFolder(dirname(resolve(target)));
      });
      return { bytes, tensors: entries.length, masters: entries.filter(({ isMaster }) => isMaster).length };
    } finally {
      rmSync(temporary, { recursive: true, force: true });
    }
  } finally {
    weights.close();
    states?.close();
  }
}

function refuseFull(target: string): void {
  const stat = statSync(target, { throwIfNoEntry: false });
  if (stat === undefined || (stat.isDirectory() && readdirSync(target).length === 0)) return;
  throw new TierraError('E_ARGUMENT', `${target} ${stat.isDirectory() ? 'is not empty' : 'is a file'}`, {
    hint: 'Give a folder that does not exist yet: nothing is ever overwritten.',
  });
}

function mastersOf(checkpoint: string): TensorSource | null {
  const folder = join(checkpoint, 'optimizer');
  return existsSync(folder) ? openTensors(folder, 'optimizer') : null;
}

function entryFor(
  name: string,
  weights: TensorSource,
  states: TensorSource | null,
  wanted: keyof typeof exportTypes | undefined,
): { entry: TensorEntry; isMaster: boolean } {
  const master = `${name}.master`;
  const isMaster = states?.names().includes(master) === true;
  const [source, key] = isMaster ? [states!, master] : [weights, name];
  const { dtype: stored, shape } = source.info(key);
  const dtype: SafetensorsDtype = wanted === undefined ? stored : exportTypes[wanted][0];
  const convert = conversion(stored, dtype);
  const [storedSize, size] = [dtypeBytes(stored), dtypeBytes(dtype)];
  const entry: TensorEntry = {
    name,
    dtype,
    shape,
    read(into, byteOffset) {
      const raw = new Uint8Array((into.length / size) * storedSize);
      source.readInto(key, raw, (byteOffset / size) * storedSize);
      convert(raw, into);
    },
  };
  return { entry, isMaster };
}

/** Everything beside the weights; `config.json` says the new type. */
function smallFiles(from: string, dtype: keyof typeof exportTypes | undefined) {
  const names = readdirSync(from).filter((name) => !/\.safetensors(\.index\.json)?$/.test(name));
  return names.map((name) => {
    if (name !== 'config.json' || dtype === undefined) return copiedFile(`model/${name}`, join(from, name));
    const config = JSON.parse(readFileSync(join(from, name), 'utf8')) as Record<string, unknown>;
    const word = exportTypes[dtype][1];
    const old = config.torch_dtype === undefined ? {} : { torch_dtype: word };
    return contentFile(`model/${name}`, { ...config, dtype: word, ...old });
  });
}
