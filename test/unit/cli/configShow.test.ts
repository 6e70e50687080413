import { expect, test } from 'vitest';
import { useWorkingFolder, write } from '../config/files.ts';
import { runCli } from './runCli.ts';

useWorkingFolder();

test('every value with its origin, in columns', async () => {
  write('run.yaml', 'name: tiny\nmemory:\n  gpu: 64MiB\n  cpu: 1000000001\n  nvme: { path: /mnt/a }\n');
  const { code, stdout, stderr } = await runCli([
    'config',
    'show',
    'run.yaml',
    '--set',
    'train.steps=5',
    '--set',
    'seed=3',
  ]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const lines = stdout.trimEnd().split('\n');
  const of = (path: string) => lines.find((line) => line.startsWith(`${path} `));
  expect([
    of('name'),
    of('seed'),
    of('train.steps'),
    of('memory.gpu'),
    of('memory.cpu'),
    of('memory.nvme.paths'),
    of('sample.prompt'),
  ]).toMatchInlineSnapshot(`
    [
      "name                           tiny            run.yaml:1",
      "seed                           3               --set",
      "train.steps                    5               --set",
      "memory.gpu                     64.0 MiB        run.yaml:3",
      "memory.cpu                     1000000001      run.yaml:4",
      "memory.nvme.paths              ["/mnt/a"]      run.yaml:5",
      "sample.prompt                  ""              default",
    ]
  `);
  const columns = lines.map((line) => line.search(/(default|run\.yaml:\d+|--set)$/));
  expect(new Set(columns).size).toBe(1);
});

test('a wrong configuration is told on standard error', async () => {
  write('run.yaml', 'trian: { steps: 5 }\n');
  const { code, stdout, stderr } = await runCli(['config', 'show', 'run.yaml']);
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  expect(stderr).toContain('run.yaml:1:1: unknown key "trian"; did you mean "train"?');
});
