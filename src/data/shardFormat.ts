import { TierraError } from '../core/errors.ts';

/**
 * A token cache is a folder: `manifest.json` and, per stream, numbered shards. A shard is a 64-byte header and then ids as
 * little-endian uint16 (vocabularies up to 65,536) or uint32. A stream with a loss mask has one byte per id in files beside.
 */
export const formatVersion = 1;
export const headerBytes = 64;
export const manifestName = 'manifest.json';

export type StreamName = 'train' | 'validation';
export type TokenArray = Uint16Array | Uint32Array;

export interface StreamEntry {
  readonly tokens: number;
  readonly documents: number;
  readonly masked: boolean;
  /** SHA-256 over the SHA-256 of all ids and that of all mask bytes. */
  readonly sha256: string;
}

export interface Manifest {
  readonly format: 'tierra-tokens';
  readonly version: number;
  readonly key: string;
  readonly tokenizer: string;
  readonly vocabularySize: number;
  readonly shardTokens: number;
  readonly streams: Readonly<Record<StreamName, StreamEntry>>;
}

export const idBytes = (vocabularySize: number): 2 | 4 => (vocabularySize <= 65_536 ? 2 : 4);

export const shardName = (stream: StreamName, index: number, kind: 'ids' | 'mask'): string =>
  `${stream}-${String(index).padStart(5, '0')}.${kind}`;

/** Magic, version, element size, key and position: a shard from another cache is noticed when it is opened. */
export function shardHeader(key: string, stream: StreamName, index: number, elementBytes: number): Buffer {
  const header = Buffer.alloc(headerBytes);
  header.write('TIERRATK', 0, 'latin1');
  header.writeUInt32LE(formatVersion, 8);
  header.writeUInt32LE(elementBytes, 12);
  header.writeUInt32LE(index, 16);
  header.writeUInt32LE(stream === 'train' ? 0 : 1, 20);
  header.write(key, 24, 40, 'latin1');
  return header;
}

/** Throws `E_CORRUPT` for anything that is not a manifest of this version with the expected key. */
export function parseManifest(text: string, key: string, where: string): Manifest {
  const fail = (why: string): never => {
    throw new TierraError('E_CORRUPT', `${where}: ${why}`);
  };
  let value: Partial<Manifest> | null = null;
  try {
    value = JSON.parse(text) as Partial<Manifest> | null;
  } catch {
    return fail('not JSON');
  }
  if (value?.format !== 'tierra-tokens') return fail('not the manifest of a token cache');
  if (value.version !== formatVersion)
    return fail(`written in version ${value.version}, this is version ${formatVersion}`);
  if (value.key !== key) return fail(`belongs to cache ${value.key}`);
  const counts = [
    value.vocabularySize,
    value.shardTokens,
    value.streams?.train?.tokens,
    value.streams?.validation?.tokens,
  ];
  if (!counts.every((count) => Number.isSafeInteger(count) && (count as number) >= 0))
    return fail('a count is missing');
  return value as Manifest;
}
