import { existsSync, lstatSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join, sep } from 'node:path';
import { TierraError } from '../../core/errors.ts';
import { withIo } from '../../core/files.ts';
import { corrupt, type TensorInfo } from './header.ts';
import { openSafetensors, type SafetensorsFile, type TensorSource, unknownTensor } from './reader.ts';
import { type JsonObject, parseStrictJson, showJson, showName } from './strictJson.ts';

const maxIndexBytes = 100_000_000;
const indexLimits = { maxDepth: 4, maxArrayLength: 1000, maxKeys: 4_000_000 };

/**
 * Opens `<folder>/<baseName>.safetensors`, or the shards that `<baseName>.safetensors.index.json` names, as one source.
 * Every shard is opened and validated at once. Throws `E_IO` when neither is there, `E_CORRUPT` for a shard that is
 * missing, lies outside the folder or lacks a mapped tensor, `E_UNSUPPORTED` for a folder with only pickled weights.
 */
export function openSafetensorsFolder(folder: string, baseName = 'model'): TensorSource {
  const single = join(folder, `${baseName}.safetensors`);
  const indexPath = join(folder, `${baseName}.safetensors.index.json`);
  if (existsSync(indexPath)) return openIndexed(folder, indexPath);
  if (existsSync(single)) return openSafetensors(resolveInside(folder, basename(single), single));
  throw nothingFound(folder, baseName);
}

function openIndexed(folder: string, indexPath: string): TensorSource {
  const files = new Map<string, SafetensorsFile>();
  const homes = new Map<string, SafetensorsFile>();
  try {
    for (const [name, shard] of readWeightMap(folder, indexPath)) {
      let file = files.get(shard);
      if (file === undefined) {
        const path = resolveInside(folder, shard, indexPath);
        if (!existsSync(path)) throw corrupt(indexPath, `the shard ${showName(shard)} is not in the folder`, { shard });
        file = openSafetensors(path);
        files.set(shard, file);
      }
      if (!file.entries.has(name)) {
        throw corrupt(indexPath, `maps tensor ${showName(name)} to ${shard}, which does not hold it`, { name, shard });
      }
      homes.set(name, file);
    }
  } catch (error) {
    for (const file of files.values()) file.close();
    throw error;
  }
  return new ShardedSource(indexPath, homes, [...files.values()]);
}

class ShardedSource implements TensorSource {
  readonly #path: string;
  readonly #homes: ReadonlyMap<string, SafetensorsFile>;
  readonly #files: readonly SafetensorsFile[];

  constructor(path: string, homes: ReadonlyMap<string, SafetensorsFile>, files: readonly SafetensorsFile[]) {
    this.#path = path;
    this.#homes = homes;
    this.#files = files;
  }

  names(): readonly string[] {
    return [...this.#homes.keys()];
  }

  info(name: string): TensorInfo & { readonly bytes: number } {
    return this.#home(name).info(name);
  }

  readInto(name: string, into: Uint8Array, byteOffset = 0): void {
    this.#home(name).readInto(name, into, byteOffset);
  }

  close(): void {
    for (const file of this.#files) file.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #home(name: string): SafetensorsFile {
    const home = this.#homes.get(name);
    if (home === undefined) throw unknownTensor(this.#path, name, this.#homes.keys());
    return home;
  }
}

function readWeightMap(folder: string, indexPath: string): ReadonlyMap<string, string> {
  const path = resolveInside(folder, basename(indexPath), indexPath);
  const bytes = withIo('read', path, () => statSync(path)).size;
  if (bytes > maxIndexBytes) throw corrupt(indexPath, `has ${bytes} bytes, more than the ${maxIndexBytes} allowed`);
  const text = withIo('read', path, () => readFileSync(path, 'utf8'));
  const root = parseStrictJson(text, indexPath, indexLimits);
  const map = root instanceof Map ? (root as JsonObject).get('weight_map') : undefined;
  if (!(map instanceof Map) || map.size === 0) {
    throw corrupt(indexPath, `weight_map is ${showJson(map)}, not an object that names a file for each tensor`);
  }
  for (const [name, shard] of map as JsonObject) {
    if (typeof shard !== 'string' || !isPlainName(shard)) {
      const where = typeof shard === 'string' ? showName(shard) : showJson(shard);
      throw corrupt(indexPath, `weight_map sends tensor ${showName(name)} to ${where}, not a plain file name`, {
        name,
      });
    }
  }
  return map as ReadonlyMap<string, string>;
}

/** A file name that cannot lead anywhere but into its own folder. */
export function isPlainName(name: string): boolean {
  return name !== '' && name !== '.' && name !== '..' && name.length <= 255 && !/[/\\\0]/.test(name);
}

/**
 * The real path of `name` in `folder`. A symbolic link may not leave the folder, with one exception: in a Hugging Face
 * cache, `snapshots/<revision>/<file>` links into the `blobs` beside `snapshots`.
 */
function resolveInside(folder: string, name: string, blame: string): string {
  const path = join(folder, name);
  if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() !== true) return path;
  const root = withIo('resolve', folder, () => realpathSync(folder));
  const target = withIo('resolve the link', path, () => realpathSync(path));
  const snapshots = dirname(root);
  const blobs = join(dirname(snapshots), 'blobs');
  const inCache = basename(snapshots) === 'snapshots' && target.startsWith(blobs + sep);
  if (inCache || target.startsWith(root + sep)) return target;
  throw corrupt(blame, `${showName(name)} is a link that leaves the folder, to ${target}`, { name, target });
}

function nothingFound(folder: string, baseName: string): TierraError {
  const wanted = `${baseName}.safetensors or ${baseName}.safetensors.index.json`;
  const pickle = ['pytorch_model.bin', 'pytorch_model.bin.index.json'].find((name) => existsSync(join(folder, name)));
  if (pickle !== undefined) {
    return new TierraError('E_UNSUPPORTED', `${folder}: holds ${pickle}, but no ${wanted}`, {
      hint: 'Pickled weights can run code when loaded and are never read: convert the model to safetensors first.',
    });
  }
  return new TierraError('E_IO', `${folder}: there is no ${wanted}`, {
    hint: existsSync(folder) ? 'Give the folder that holds the weights.' : 'The folder does not exist: check its path.',
  });
}
