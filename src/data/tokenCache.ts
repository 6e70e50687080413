import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { isTierraError, TierraError } from '../core/errors.ts';
import { BuildLock } from './buildLock.ts';
import { buildCorpus } from './corpusBuild.ts';
import { formatVersion, manifestName, type StreamName } from './shardFormat.ts';
import type { CorpusPlan } from './tokenizeCorpus.ts';
import { TokenStore } from './tokenStore.ts';

export interface CacheOptions {
  readonly cacheFolder: string;
  readonly verify: boolean;
  readonly note: (text: string) => void;
  readonly signal: AbortSignal | undefined;
}

export interface OpenedCorpus {
  readonly folder: string;
  readonly stores: Readonly<Record<StreamName, TokenStore>>;
}

/**
 * What decides the tokens, and nothing else: content of the files in their order, format, tokenizer, template, separator,
 * document split. Names and times of files do not matter.
 */
export function corpusKey(plan: Omit<CorpusPlan, 'key'>): string {
  const { tokenizer, field, template, separator, validationPlace, shardTokens } = plan;
  const files = plan.files.map(({ file, format }) => [file.sha256, file.bytes, format, file.cut]);
  const settings = [
    formatVersion,
    tokenizer.fingerprint,
    tokenizer.vocabularySize,
    field,
    template,
    separator,
    validationPlace,
    shardTokens,
  ];
  return createHash('sha256')
    .update(JSON.stringify([settings, files]))
    .digest('hex')
    .slice(0, 40);
}

/** Opens the token cache of a corpus, building it first when it is missing or damaged. Safe in several processes at once. */
export async function openOrBuild(
  plan: CorpusPlan,
  { cacheFolder, verify, note, signal }: CacheOptions,
): Promise<OpenedCorpus> {
  const folder = path.resolve(cacheFolder, plan.key);
  const opened = tryOpen(folder, plan.key, verify);
  if (!(opened instanceof Error)) {
    note(`using the tokens in ${folder}`);
    return opened;
  }
  makeFolder(cacheFolder);
  const lock = new BuildLock(`${folder}.lock`);
  const isThere = (): boolean => !(closeIfOpen(tryOpen(folder, plan.key, verify)) instanceof Error);
  const outcome = await lock.acquire(isThere, () =>
    note(`another process is tokenizing the same data, waiting for ${folder}`),
  );
  try {
    if (outcome === 'build') {
      if (existsSync(folder)) {
        note(`the token cache cannot be used and is built again: ${opened.message}`);
        rmSync(folder, { recursive: true, force: true });
      } else {
        note(`tokenizing ${plan.files.length} files into ${folder}`);
      }
      await buildCorpus(plan, folder, { note, signal, alive: () => lock.touch() });
    }
  } finally {
    lock.release();
  }
  const built = tryOpen(folder, plan.key, verify);
  if (built instanceof Error) throw built;
  return built;
}

function tryOpen(folder: string, key: string, verify: boolean): OpenedCorpus | Error {
  const stores: TokenStore[] = [];
  try {
    if (!existsSync(path.join(folder, manifestName)))
      throw new TierraError('E_CORRUPT', `${folder} has no ${manifestName}`);
    for (const stream of ['train', 'validation'] as const) {
      const store = new TokenStore(folder, key, stream);
      stores.push(store);
      if (verify) store.verify();
    }
    const [train, validation] = stores;
    return { folder, stores: { train: train!, validation: validation! } };
  } catch (error) {
    for (const store of stores) store.dispose();
    if (isTierraError(error, 'E_CORRUPT')) return error;
    const code = (error as NodeJS.ErrnoException).code;
    if (code === undefined) throw error;
    return new TierraError('E_IO', `${folder}: ${(error as Error).message}`, { cause: error });
  }
}

function closeIfOpen(opened: OpenedCorpus | Error): OpenedCorpus | Error {
  if (!(opened instanceof Error)) for (const store of Object.values(opened.stores)) store.dispose();
  return opened;
}

function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
    throw new TierraError('E_IO', `token cache: cannot make the folder ${path.resolve(folder)} (${code})`, {
      hint: 'Name another cache folder.',
      cause: error,
    });
  }
}
