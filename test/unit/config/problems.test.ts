import { expect, test } from 'vitest';
import { type ConfigInput, loadConfig, resolveConfig } from '../../../src/config/index.ts';
import { isTierraError } from '../../../src/core/errors.ts';
import { failure, refuse, useWorkingFolder, write } from './files.ts';

useWorkingFolder();

test('every problem is reported at once, in the order of the file', () => {
  const text = `nam: demo
precision: fp23
model:
  preset: gpt2
  path: x
data:
  train: [1, 2]
train:
  steps: 100
  epochs: 1
  batchSize: 0
optimizer:
  betas: [0.9]
  learningrate: 3e-4
  groups:
    - mach: wte
      frozen: 1
    - match: '('
memory:
  gpu: 64MiBs
  nvme: { size: 1GiB }
  activations: nvm
parallel: {}
sample: 3
`;
  expect(refuse(text)).toMatchInlineSnapshot(`
    "E_CONFIG run.yaml: 16 problems
      run.yaml:1:1: unknown key "nam"; did you mean "name"?
      run.yaml:2:12: precision: expected auto | fp32 | bf16 | fp16 | fp64, got "fp23"; did you mean "fp32"?
      run.yaml:5:3: model: preset and path are both given; give one of preset, path, architecture
      run.yaml:7:10: data.train: expected path, glob or list of them, got [1,2]
      run.yaml:10:3: train.epochs and train.steps (run.yaml:9:3) are both given; give one of them
      run.yaml:11:14: train.batchSize: expected integer >= 1, got 0
      run.yaml:13:10: optimizer.betas: expected two numbers >= 0 and < 1, got [0.9]
      run.yaml:14:3: unknown key "optimizer.learningrate"; did you mean "learningRate"?
      run.yaml:16:7: optimizer.groups[0].match is missing: expected a regular expression
      run.yaml:16:7: unknown key "optimizer.groups[0].mach"; did you mean "match"?
      run.yaml:17:15: optimizer.groups[0].frozen: expected true or false, got 1
      run.yaml:18:14: optimizer.groups[1].match: expected a regular expression, got "("
      run.yaml:20:8: memory.gpu: expected auto, or a size such as 8GiB or 500MB, got "64MiBs"
      run.yaml:21:3: memory.nvme.path is missing: expected a folder on a local disk
      run.yaml:22:16: memory.activations: expected keep | recompute | host | nvme, got "nvm"; did you mean "nvme"?
      run.yaml:24:9: sample: expected a map with prompt, tokens, temperature, ..., got 3"
  `);
});

test.each([
  ['lr: 1', 'did you mean "optimizer.learningRate"?'],
  ['learningRate: 1', 'did you mean "optimizer.learningRate"?'],
  ['train: { batch_size: 1 }', 'did you mean "batchSize"?'],
  ['train: { sequenceLength: 1 }', 'did you mean "data.sequenceLength"?'],
  ['memory: { nvme: { path: /x, siez: 1 } }', 'did you mean "size"?'],
  ['model: { preset: gpt2, override: {} }', 'did you mean "overrides"?'],
  ['model: { pressed: gpt2 }', 'did you mean "preset"?'],
  ['schedule: { zzzzzzzzzzzz: 1 }', 'known here: name, warmupSteps, warmupFraction, minRateFraction, power'],
])('unknown key: %s', (text, advice) => {
  const message = refuse(text);
  expect(message).toMatch(/^E_CONFIG run\.yaml:1:\d+: unknown key "/m);
  expect(message).toContain(advice);
});

test.each([
  ['train: { batchSize: "8" }', 'run.yaml:1:21: train.batchSize: expected integer >= 1, got "8"'],
  ['train: { batchSize: 1.5 }', 'run.yaml:1:21: train.batchSize: expected integer >= 1, got 1.5'],
  ['seed: 9007199254740993', 'run.yaml:1:7: seed: expected integer >= 0, got 9007199254740992'],
  ['data: { shuffle: yes }', 'run.yaml:1:18: data.shuffle: expected true or false, got "yes"'],
  ['optimizer: { learningRate: .inf }', 'run.yaml:1:28: optimizer.learningRate: expected number >= 0, got Infinity'],
  ['optimizer: { learningRate: .nan }', 'run.yaml:1:28: optimizer.learningRate: expected number >= 0, got NaN'],
  ['optimizer: { betas: [0.9, 1] }', 'run.yaml:1:21: optimizer.betas: expected two numbers >= 0 and < 1, got [0.9,1]'],
  ['optimizer: { name: adam }', 'expected adamw | sgd | lion, got "adam"; did you mean "adamw"?'],
  ['train: 3', 'run.yaml:1:8: train: expected a map with steps, epochs, batchSize, ..., got 3'],
  ['device: cuda:01', 'run.yaml:1:9: device: expected auto | cpu | cuda | cuda:N, got "cuda:01"'],
  ['name: ../up', 'run.yaml:1:7: name: expected name of letters'],
  ['model: gpt2', 'run.yaml:1:8: model: expected a map with preset, path, architecture, got "gpt2"'],
  ['model: { weights: true }', 'run.yaml:1:10: model.weights needs one of preset, path, architecture beside it'],
  ['model: { preset: 3 }', 'run.yaml:1:18: model.preset: expected name of a preset, got 3'],
  ['memory: { gpu: 8 GBits }', 'memory.gpu: expected auto, or a size such as 8GiB or 500MB, got "8 GBits"'],
  ['memory: { cpu: -1 }', 'memory.cpu: expected auto, or a size such as 8GiB or 500MB, got -1'],
  ['memory: { nvme: { paths: [] } }', 'run.yaml:1:11: memory.nvme.path is missing'],
  ['memory: { nvme: { path: a, paths: b } }', 'memory.nvme.paths and memory.nvme.path (run.yaml:1:19) are both given'],
  ['memory: { activations: nvme }', 'run.yaml:1:11: memory.activations: nvme needs memory.nvme.path'],
  ['train: { steps: 5 }\nschedule: { warmupSteps: 6 }', 'run.yaml:2:13: schedule.warmupSteps 6 exceeds train.steps 5'],
  ['train: { steps: 5, epochs: 1 }', 'run.yaml:1:20: train.epochs and train.steps (run.yaml:1:10) are both given'],
  ['schedule: { warmupSteps: 5, warmupFraction: 0.1 }', 'are both given; give one of them'],
  ['optimizer: { momentum: 0, nesterov: true }', 'run.yaml:1:27: optimizer.nesterov needs optimizer.momentum > 0'],
  ['optimizer: { groups: [{ match: "[" }] }', 'optimizer.groups[0].match: expected a regular expression, got "["'],
  ['optimizer: { groups: [{ frozen: true }] }', 'run.yaml:1:23: optimizer.groups[0].match is missing'],
])('%s', (text, message) => {
  expect(refuse(text)).toContain(message);
});

test('degrees, and sequences that cannot be cut', () => {
  expect(refuse('parallel: { pp: 0 }')).toBe('E_CONFIG run.yaml:1:17: parallel.pp: expected integer >= 1, got 0');
  expect(refuse('parallel: { sp: 3 }\ndata: { sequenceLength: 128 }')).toBe(
    'E_CONFIG run.yaml:1:13: parallel.sp: 3 ranks by ring cut sequences into 6 runs, and data.sequenceLength 128 % 6 = 2',
  );
  expect(refuse('parallel: { sp: 4, sequence: heads }\ndata: { sequenceLength: 6 }')).toMatch(
    / into 4 runs, .* 6 % 4 = 2$/,
  );
  expect(refuse('parallel: { sequence: rings }')).toContain(
    'expected ring | heads | scores, got "rings"; did you mean',
  );
});

test('ranks that form no square or cube, and batches that their blocks cannot share', () => {
  const refused = (parallel: string, rest = ''): string => refuse(`parallel: { ${parallel} }\n${rest}`);
  expect(refused('tp: 6, tensor: 2d')).toBe(
    'E_CONFIG run.yaml:1:13: parallel.tp: parallel.tensor: 2d needs q x q ranks, and 6 are not; the nearest are 4 and 9',
  );
  expect(refused('tp: 12, tensor: 3d')).toContain('needs d x d x d ranks, and 12 are not; the nearest are 8 and 27');
  expect(refused('tp: 9, tensor: 2.5d, depth: 2')).toContain(
    '2 x q x q ranks, and 9 are not; the nearest are 8 and 18',
  );
  expect(refused('tp: 32, tensor: 2.5d')).toContain(
    'needs parallel.depth, how many squares of ranks lie over each other (for tp 32: 8 or 2)',
  );
  expect(refused('tp: 6, tensor: 2.5d')).toContain('(none fits tp 6; tp 8 is 2 x 2 x 2)');
  expect(refused('tp: 4, tensor: 2d, depth: 1')).toContain('only parallel.tensor: 2.5d has layers of squares');
  expect(refused('tp: 4, ep: 2, tensor: 2d')).toContain('parallel.ep: experts need whole rows');
  expect(refused('tp: 8, tensor: 3d', 'train: { batchSize: 6 }')).toBe(
    'E_CONFIG run.yaml:2:10: train.batchSize: 6 sequences cannot be cut into 4 equal parts: parallel.tensor: 3d over tp 8 cuts each batch into 4',
  );
  expect(refused('dp: 2, tp: 4, tensor: 2d', 'train: { batchSize: 6 }')).toContain(
    "into 2 x 2 equal parts: parallel.tensor: 2d over tp 4 cuts each data rank's batch into 2",
  );
});

test('details hold the problems for programs', () => {
  try {
    loadConfig(write('run.yaml', 'seeed: 1\ntrain: { steps: 0 }\n'));
    expect.unreachable();
  } catch (error) {
    expect(isTierraError(error, 'E_CONFIG') && error.details.problems).toMatchObject([
      { place: { source: 'run.yaml', line: 1, column: 1 } },
      { place: { source: 'run.yaml', line: 2, column: 17 } },
    ]);
  }
});

test('programs get the same messages without places, and only plain data passes', () => {
  const bad = (input: unknown) => failure(() => resolveConfig(input as ConfigInput));
  expect(bad({ train: { steps: 0 } })).toBe('E_CONFIG train.steps: expected integer >= 1, or null, got 0');
  expect(bad({ train: { onStep: () => 1 } })).toBe('E_CONFIG train.onStep: expected plain data, got Function');
  expect(bad({ data: { train: new Set(['a']) } })).toBe('E_CONFIG data.train: expected plain data, got Set');
  expect(bad([])).toBe('E_CONFIG config: a configuration is an object of sections');
  expect(bad('run.yaml')).toBe('E_CONFIG config: a configuration is an object of sections');
  const circle: Record<string, unknown> = {};
  circle.model = circle;
  expect(bad(circle)).toContain('in a circle');
  expect(resolveConfig({ seed: undefined } as unknown as ConfigInput).seed).toBe(1234);
});
