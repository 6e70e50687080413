import { spawn } from 'node:child_process';
import {
  appendFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { hostname } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { byteTokenizer, type CorpusOptions } from '../../../src/data/index.ts';
import { compiled } from '../../compiled.ts';
import { bytes, idsOf, prepare } from './corpora.ts';
import { folderWith } from './helpers.ts';

const text = 'The boats came in, and nobody spoke.';
const repository = fileURLToPath(new URL('../../..', import.meta.url));
const memo = 'file-hashes.json';
const caches = (root: string): string[] => readdirSync(path.join(root, 'cache')).filter((name) => name !== memo);
/** The same while the folder may not exist yet. */
const left = (root: string): string[] => (existsSync(path.join(root, 'cache')) ? caches(root) : []);
const shard = (root: string, name = 'train-00000.ids'): string => path.join(root, 'cache', caches(root)[0]!, name);

describe('key', () => {
  test('is of the content: other names and times find the cache, and it is opened without tokenizing', async () => {
    const root = folderWith({ 'a.txt': text });
    const first = await prepare(root);
    renameSync(path.join(root, 'a.txt'), path.join(root, 'z.txt'));
    utimesSync(path.join(root, 'z.txt'), 1, 1);
    const second = await prepare(root);
    expect(first.notes[0]).toMatch(/^tokenizing 1 files into /);
    expect(second.notes).toEqual([expect.stringMatching(/^using the tokens in /)]);
    expect(second.train.fingerprint).toBe(first.train.fingerprint);
    expect(caches(root)).toHaveLength(1);
  });

  test('changes with a byte, even at the same size and time', async () => {
    const root = folderWith({ 'a.txt': text });
    const file = path.join(root, 'a.txt');
    utimesSync(file, 1, 1);
    const first = await prepare(root);
    writeFileSync(file, text.replace('boats', 'goats'));
    utimesSync(file, 1, 1);
    const second = await prepare(root);
    expect(second.notes[0]).toMatch(/^tokenizing/);
    expect(second.train.fingerprint).not.toBe(first.train.fingerprint);
    expect(idsOf(second.train)).toContain(bytes('g')[0]);
  });

  test.each<[string, Partial<CorpusOptions>]>([
    ['the tokenizer', { tokenizer: byteTokenizer({ endOfText: false }) }],
    ['the separator', { separator: 'none' }],
    ['the byte cap', { maxBytes: 20 }],
    ['a document split', { validation: { fraction: 0.999, by: 'documents' } }],
    ['the files', { files: ['a.txt', 'a.jsonl'] }],
    ['the format', { format: 'jsonl', files: 'a.jsonl' }],
    ['the shard size', { shardTokens: 7 }],
  ])('changes with %s', async (_, options) => {
    const root = folderWith({ 'a.txt': text, 'a.jsonl': `${JSON.stringify({ text })}\n` });
    await prepare(root);
    await prepare(root, options).catch((error: Error) => expect(error.message).toMatch(/too few/));
    expect(caches(root)).toHaveLength(2);
  });

  test('changes with field and template', async () => {
    const line = { text: 'some text', body: 'other text', messages: [{ role: 'user', content: 'hello' }] };
    const root = folderWith({ 'a.jsonl': `${JSON.stringify(line)}\n` });
    for (const options of [{}, { field: 'body' }, { template: 'chatml' }, { template: 'plain' }] as const) {
      await prepare(root, { files: 'a.jsonl', ...options });
    }
    expect(caches(root)).toHaveLength(4);
  });
});

describe('damage', () => {
  const damages: [string, (root: string) => void, RegExp][] = [
    ['a truncated shard', (root) => truncateSync(shard(root), 80), /train-00000\.ids: 80 bytes, expected \d+ bytes/],
    [
      'a shard that grew',
      (root) => appendFileSync(shard(root), 'xx'),
      /train-00000\.ids: \d+ bytes, expected \d+ bytes/,
    ],
    ['a missing shard', (root) => rmSync(shard(root)), /train-00000\.ids: missing, expected \d+ bytes/],
    [
      'a foreign shard',
      (root) => writeFileSync(shard(root), readFileSync(shard(root)).fill(0, 0, 64)),
      /the header is not that of this cache/,
    ],
    ['a missing manifest', (root) => rmSync(shard(root, 'manifest.json')), /has no manifest\.json/],
    [
      'a manifest that is not JSON',
      (root) => writeFileSync(shard(root, 'manifest.json'), '{"form'),
      /manifest\.json: not JSON/,
    ],
    [
      'a foreign manifest',
      (root) => writeFileSync(shard(root, 'manifest.json'), '{"format":"x"}'),
      /not the manifest of a token cache/,
    ],
    [
      'a manifest of another version',
      (root) =>
        writeFileSync(
          shard(root, 'manifest.json'),
          readFileSync(shard(root, 'manifest.json'), 'utf8').replace('"version": 1', '"version": 9'),
        ),
      /written in version 9, this is version 1/,
    ],
    [
      'a manifest without counts',
      (root) =>
        writeFileSync(
          shard(root, 'manifest.json'),
          readFileSync(shard(root, 'manifest.json'), 'utf8').replace(/"tokens": \d+/, '"tokens": null'),
        ),
      /a count is missing/,
    ],
  ];

  test.each(damages)('%s: built again, and said', async (_, damage, reason) => {
    const root = folderWith({ 'a.txt': text });
    const before = await prepare(root);
    const ids = idsOf(before.train);
    before.dispose();
    damage(root);
    const after = await prepare(root);
    expect(after.notes[0]).toMatch(/^the token cache cannot be used and is built again: /);
    expect(after.notes[0]).toMatch(reason);
    expect(idsOf(after.train)).toEqual(ids);
    expect(after.train.fingerprint).toBe(before.train.fingerprint);
    expect((await prepare(root)).notes[0]).toMatch(/^using/);
  });

  test('changed tokens are noticed when asked to verify', async () => {
    const root = folderWith({ 'a.txt': text });
    (await prepare(root)).dispose();
    const content = readFileSync(shard(root));
    content[70]! ^= 1;
    writeFileSync(shard(root), content);
    expect((await prepare(root)).notes[0]).toMatch(/^using/);
    const verified = await prepare(root, { verify: true });
    expect(verified.notes[0]).toMatch(/built again: .*the train tokens are not those that were written$/);
    expect(idsOf(verified.train)).toEqual([...bytes(text), 256]);
  });

  test('an id outside the vocabulary never reaches the model', async () => {
    const root = folderWith({ 'a.txt': text });
    (await prepare(root)).dispose();
    const content = readFileSync(shard(root));
    content.writeUInt16LE(300, 64 + 2 * 5);
    writeFileSync(shard(root), content);
    const { train } = await prepare(root);
    const row = new Int32Array(5);
    train.read(0, row);
    expect(() => train.read(1, row)).toThrow(
      /train-00000\.ids: id 300 between tokens 4 and 9, but the vocabulary has 257$/,
    );
  });

  test('a shard that shrinks while it is open is an error, not a short read', async () => {
    const root = folderWith({ 'a.txt': text });
    const { train } = await prepare(root);
    truncateSync(shard(root), 70);
    expect(() => train.read(train.sequences - 1, new Int32Array(5))).toThrow(
      /train-00000\.ids ended after 0 of 10 bytes/,
    );
  });
});

describe('building', () => {
  test('leaves nothing behind when it fails', async () => {
    const root = folderWith({ 'a.jsonl': '{"text":"fine"}\nbroken\n' });
    await expect(prepare(root, { files: 'a.jsonl' })).rejects.toThrow('a.jsonl:2: not JSON');
    expect(caches(root)).toEqual([]);
  });

  test('in several processes at once gives one cache that all use', async () => {
    const root = folderWith({ 'a.txt': Buffer.alloc(3_000_000, text) });
    const script = path.join(root, 'prepare.mjs');
    const index = compiled('src/data/index.ts');
    writeFileSync(
      script,
      `import { byteTokenizer, prepareCorpus } from ${JSON.stringify(index)};
       const notes = [];
       prepareCorpus({ files: 'a.txt', root: ${JSON.stringify(root)}, cacheFolder: 'cache', sequenceLength: 64,
         tokenizer: byteTokenizer(), verify: true, note: (text) => notes.push(text) })
         .then(({ train }) => console.log(JSON.stringify({ fingerprint: train.fingerprint, sequences: train.sequences, notes })));`,
    );
    const runs = await Promise.all(Array.from({ length: 3 }, () => output(process.execPath, [script])));
    const results = runs.map((run) => JSON.parse(run) as { fingerprint: string; sequences: number; notes: string[] });
    expect(new Set(results.map(({ fingerprint }) => fingerprint)).size).toBe(1);
    expect(results[0]!.sequences).toBe(46_875);
    expect(results.filter(({ notes }) => notes.some((note) => note.startsWith('tokenizing')))).toHaveLength(1);
    expect(caches(root)).toHaveLength(1);
  });

  test('leaves nothing behind when it is stopped, and lets other work in between', async () => {
    const root = folderWith({ 'a.txt': '' });
    truncateSync(path.join(root, 'a.txt'), 128 * 2 ** 20);
    const stop = new AbortController();
    const timer = setInterval(() => {
      if (left(root).some((name) => name.includes('.building-'))) stop.abort();
    }, 1);
    await expect(prepare(root, { signal: stop.signal })).rejects.toMatchObject({
      code: 'E_INTERRUPTED',
      message: expect.stringMatching(/^tokenizing was stopped after .+ tokens$/),
    });
    clearInterval(timer);
    expect(caches(root)).toEqual([]);
  });

  test('starts again after being killed', async () => {
    const root = folderWith({ 'a.txt': '' });
    truncateSync(path.join(root, 'a.txt'), 128 * 2 ** 20);
    const script = path.join(root, 'prepare.mjs');
    const index = compiled('src/data/index.ts');
    writeFileSync(
      script,
      `import { byteTokenizer, prepareCorpus } from ${JSON.stringify(index)};
       prepareCorpus({ files: 'a.txt', root: ${JSON.stringify(root)}, cacheFolder: 'cache', sequenceLength: 64, tokenizer: byteTokenizer() });`,
    );
    const child = spawn(process.execPath, [script], { cwd: repository, stdio: 'inherit' });
    while (!left(root).some((name) => name.includes('.building-')))
      await new Promise((resolve) => setTimeout(resolve, 5));
    child.kill('SIGKILL');
    await new Promise((resolve) => child.on('exit', resolve));
    const remains = left(root);
    expect(remains.map((name) => name.replace(/^[0-9a-f]{40}/, '').replace(/-.*/, '')).sort()).toEqual([
      '.building',
      '.lock',
    ]);

    const abandoned = path.join(root, 'cache', remains.find((name) => name.includes('.building-'))!);
    utimesSync(abandoned, 1, 1);
    const { train, notes } = await prepare(root, { sequenceLength: 64 });
    expect(notes[0]).toMatch(/^tokenizing/);
    expect(train.sequences).toBe((128 * 2 ** 20) / 64);
    expect(caches(root)).toHaveLength(1);
  });

  test('goes on when the process that held the lock is gone', async () => {
    const root = folderWith({ 'a.txt': text });
    (await prepare(root)).dispose();
    const folder = path.join(root, 'cache', caches(root)[0]!);
    rmSync(folder, { recursive: true });
    const gone = spawn(process.execPath, ['-e', '']);
    await new Promise((resolve) => gone.on('exit', resolve));
    writeFileSync(`${folder}.lock`, JSON.stringify({ host: hostname(), pid: gone.pid }));
    expect((await prepare(root)).notes[0]).toMatch(/^tokenizing/);
    expect(existsSync(`${folder}.lock`)).toBe(false);
  });

  test('goes on when the lock was not touched for a minute', async () => {
    const root = folderWith({ 'a.txt': text });
    (await prepare(root)).dispose();
    const folder = path.join(root, 'cache', caches(root)[0]!);
    rmSync(folder, { recursive: true });
    writeFileSync(`${folder}.lock`, JSON.stringify({ host: 'elsewhere', pid: 1 }));
    const old = Date.now() / 1000 - 120;
    utimesSync(`${folder}.lock`, old, old);
    expect((await prepare(root)).notes[0]).toMatch(/^tokenizing/);
  });

  test('waits for another process and uses its result', async () => {
    const root = folderWith({ 'a.txt': text });
    (await prepare(root)).dispose();
    const folder = path.join(root, 'cache', caches(root)[0]!);
    renameSync(folder, `${folder}.later`);
    writeFileSync(`${folder}.lock`, JSON.stringify({ host: 'elsewhere', pid: 1 }));
    const waiting = prepare(root);
    setTimeout(() => renameSync(`${folder}.later`, folder), 250);
    expect((await waiting).notes).toEqual([
      expect.stringMatching(/^another process is tokenizing the same data, waiting/),
    ]);
  });
});

test('disposed datasets refuse to read', async () => {
  const corpus = await prepare(folderWith({ 'a.txt': text.repeat(4) }), { validation: { fraction: 0.2 } });
  corpus.train.dispose();
  expect(() => corpus.train.read(0, new Int32Array(5))).toThrow('the dataset has been disposed');
  corpus.validation!.read(0, new Int32Array(5));
  corpus.dispose();
  expect(() => corpus.validation!.read(0, new Int32Array(5))).toThrow('the dataset has been disposed');
});

describe('remembered file hashes', () => {
  test('save reading the files, are only kept for files at rest, and notice a change of content alone', {
    timeout: 20_000,
  }, async () => {
    const root = folderWith({ 'a.txt': text, 'a.jsonl': '' });
    const file = path.join(root, 'a.txt');
    const kept = path.join(root, 'cache', memo);
    utimesSync(file, 1, 1);
    const first = await prepare(root);
    expect(existsSync(kept)).toBe(false);
    await new Promise((resolve) => setTimeout(resolve, 2100));
    await prepare(root);
    expect(readFileSync(kept, 'utf8')).toContain(file);
    writeFileSync(kept, readFileSync(kept, 'utf8').replace(/"sha256":"....../, '"sha256":"000000'));
    expect((await prepare(root)).notes[0]).toMatch(/^tokenizing/);
    writeFileSync(file, text.replace('boats', 'goats'));
    utimesSync(file, 1, 1);
    const second = await prepare(root);
    expect(second.notes[0]).toMatch(/^tokenizing/);
    expect(second.train.fingerprint).not.toBe(first.train.fingerprint);
  });

  test.each(['', 'null', '[[1,2]]', '[["a",null]]', '{"a":1}'])('are left alone when damaged: %j', async (content) => {
    const root = folderWith({ 'a.txt': text, [`cache/${memo}`]: content });
    expect((await prepare(root)).train.sequences).toBe(9);
  });
});

test('memory does not grow with the corpus', async () => {
  const root = folderWith({ 'a.txt': '' });
  truncateSync(path.join(root, 'a.txt'), 128 * 2 ** 20);
  const script = path.join(root, 'grow.mjs');
  const index = compiled('src/data/index.ts');
  writeFileSync(
    script,
    `import { byteTokenizer, prepareCorpus } from ${JSON.stringify(index)};
     const before = process.resourceUsage().maxRSS;
     prepareCorpus({ files: 'a.txt', root: ${JSON.stringify(root)}, cacheFolder: 'cache', sequenceLength: 64, tokenizer: byteTokenizer() })
       .then(({ train }) => console.log(JSON.stringify([train.tokens, (process.resourceUsage().maxRSS - before) / 1024])));`,
  );
  const [tokens, grownMiB] = JSON.parse(await output(process.execPath, [script])) as [number, number];
  expect(tokens).toBe(128 * 2 ** 20);
  expect(grownMiB).toBeLessThan(64);
});

async function output(command: string, args: string[]): Promise<string> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  for await (const piece of child.stdout) text += piece;
  return text;
}
