import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { compiled } from '../../compiled.ts';

const main = compiled('src/cli/main.ts');
const waiting = compiled('test/unit/cli/waitForInterrupt.ts');

const start = (script: string, args: readonly string[] = [], env: Record<string, string> = {}): ChildProcess =>
  spawn(process.execPath, [script, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  });

/** Resolves when the word has come; the pipe stays open, unlike after a `for await` that is left. */
const said = (child: ChildProcess, word: string): Promise<void> =>
  new Promise((resolve, reject) => {
    let text = '';
    const end = () => reject(new Error(`it ended without saying ${word}: ${text}`));
    const hear = (chunk: Buffer) => {
      text += String(chunk);
      if (!text.includes(word)) return;
      child.stdout!.off('data', hear).off('end', end);
      resolve();
    };
    child.stdout!.on('data', hear).on('end', end);
  });

const ended = async (child: ChildProcess): Promise<unknown> => (await once(child, 'exit'))[0];

test('exit codes of the real program', { timeout: 60_000 }, async () => {
  const codes = await Promise.all(
    [['--version'], ['train'], ['train', '/nowhere.yaml']].map((args) => ended(start(main, args))),
  );
  expect(codes).toEqual([0, 2, 1]);
});

test('doctor and setup get their flags as typed, and their exit code is ours', { timeout: 60_000 }, async () => {
  const child = start(main, ['setup', '--nonsense']);
  expect(await Promise.all([ended(child), said(child, 'unknown option --nonsense')])).toEqual([2, undefined]);
});

test('help is English whatever the locale, since messages are told apart by it', { timeout: 60_000 }, async () => {
  const child = start(main, ['--help'], { LC_ALL: 'de_DE.UTF-8' });
  await Promise.all([ended(child), said(child, 'Show help')]);
});

test('a reader that goes away early is no failure', { timeout: 60_000 }, async () => {
  const child = start(main, ['--help']);
  child.stdout!.destroy();
  expect(await ended(child)).toBe(0);
});

test.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)('%s asks once, then ends', { timeout: 60_000 }, async (signal, code) => {
  const polite = start(waiting, ['polite']);
  await said(polite, 'ready');
  polite.kill(signal);
  expect(await ended(polite)).toBe(code);

  const stubborn = start(waiting, ['stubborn']);
  await said(stubborn, 'ready');
  stubborn.kill(signal);
  await said(stubborn, 'asked');
  stubborn.kill(signal);
  expect(await Promise.all([ended(stubborn), said(stubborn, 'undone')])).toEqual([code, undefined]);
});
