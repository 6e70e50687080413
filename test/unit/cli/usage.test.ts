import { expect, test, vi } from 'vitest';
import { runCli } from './runCli.ts';

test.each([
  ['', 'no command is given', 'tierra --help'],
  ['--nonsense', 'unknown option --nonsense', 'tierra --help'],
  ['trian x.yaml', 'unknown command "trian"', 'Did you mean tierra train?'],
  [
    'zzzzzzzzz',
    'unknown command "zzzzzzzzz"',
    'Commands: train, run, check, plan, generate, checkpoint, runs, config, doctor, setup.',
  ],
  ['config', 'config: which one? show', 'tierra config --help'],
  ['checkpoint', 'checkpoint: which one? ls, verify, export, prune', 'tierra checkpoint --help'],
  ['checkpoint veriyf x', 'unknown command "checkpoint veriyf"', 'Did you mean tierra checkpoint verify?'],
  ['config shwo x.yaml', 'unknown command "config shwo"', 'Did you mean tierra config show?'],
  ['train', 'train: <config> is missing', 'tierra train --help'],
  ['config show', 'config show: <config> is missing', 'tierra config show --help'],
  ['train a.yaml b.yaml', 'train: unexpected "b.yaml"', 'tierra train --help'],
  ['train a.yaml --traec x', 'train: unknown option --traec', 'Did you mean --trace?'],
  ['train a.yaml -t x', 'train: unknown option -t', 'tierra train --help'],
  ['train a.yaml --prompt x', 'train: unknown option --prompt', 'tierra train --help'],
  ['train a.yaml --trace', 'train: --trace needs a value', 'tierra train --help'],
  ['train a.yaml --set', 'train: --set needs a value', 'tierra train --help'],
  ['train a.yaml --trace a --trace b', 'train: --trace is given 2 times', 'tierra train --help'],
])('tierra %s', async (line, message, hint) => {
  const argv = line === '' ? [] : line.split(' ');
  const { code, stdout, stderr } = await runCli(argv);
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr.split('\n')[0]).toBe(message);
  expect(stderr).toContain(hint);
});

test('values of flags go through the schema, all at once', async () => {
  const { code, stderr } = await runCli(
    'generate folder --tokens abc --top-k 0 --temperature -1 --top-p NaN --seed 1.5 --device gpu --set seeed=1'.split(
      ' ',
    ),
  );
  expect(code).toBe(1);
  expect(stderr).toMatchInlineSnapshot(`
    "config: 7 problems
      --device gpu: device: expected auto | cpu | cuda | cuda:N, got "gpu"
      --tokens abc: sample.tokens: expected integer >= 1, got "abc"
      --temperature -1: sample.temperature: expected number >= 0, got -1
      --top-k 0: sample.topK: expected integer >= 1, or null, got 0
      --top-p NaN: sample.topP: expected number > 0 and <= 1, got "NaN"
      --seed 1.5: sample.seed: expected integer >= 0, or null, got 1.5
      --set seeed=1: unknown key "seeed"; did you mean "seed"?
      docs/config.md lists every key with its type and default.
    "
  `);
});

test('flags that look like other values stay what the field says', async () => {
  const { stderr } = await runCli(['generate', 'folder', '--prompt', '123', '--prompt=[1', '--tokens', '0']);
  expect(stderr).toContain('--prompt is given 2 times');
  expect((await runCli(['generate', 'folder', '--prompt=[1', '--tokens', '0'])).stderr).toMatch(
    /^--tokens 0: sample\.tokens/,
  );
  expect((await runCli(['generate', 'folder', '--prompt', '123', '--tokens', '0'])).stderr).toMatch(/^--tokens 0/);
});

test('errors are red on a terminal that takes colour, and plain elsewhere', async () => {
  vi.stubEnv('TERM', 'xterm');
  vi.stubEnv('NO_COLOR', '');
  expect((await runCli(['train'], { isTTY: true })).stderr).toContain('\x1b[31mtrain: ');
  expect((await runCli(['train'])).stderr).not.toContain('\x1b');
  vi.stubEnv('NO_COLOR', '1');
  expect((await runCli(['train'], { isTTY: true })).stderr).not.toContain('\x1b');
  vi.unstubAllEnvs();
});

test('no listener is left behind', async () => {
  const before = [process.listenerCount('SIGINT'), process.listenerCount('SIGTERM')];
  await runCli(['--version']);
  await runCli(['train']);
  expect([process.listenerCount('SIGINT'), process.listenerCount('SIGTERM')]).toEqual(before);
});
