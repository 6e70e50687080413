import { expect, test } from 'vitest';
import { loadConfig, loadConfigWithOrigins } from '../../../src/config/index.ts';
import { refuse, useWorkingFolder, write } from './files.ts';

useWorkingFolder();

const load = (text: string, overrides: readonly string[]) => loadConfig(write('run.yaml', text), overrides);

test('values are read as in the file', () => {
  const config = load('train: { steps: 3 }', [
    'train.steps=7',
    'train.clipNorm=null',
    'train.evaluateEvery=',
    'optimizer.learningRate=1e-3',
    'data.train=[a.txt, "b c.txt"]',
    'sample.prompt="a: b"',
    'memory.nvme.path=/mnt/disk',
    'memory.nvme.size=1.5GiB',
  ]);
  expect(config.train).toMatchObject({ steps: 7, clipNorm: null, evaluateEvery: null });
  expect(config.optimizer.learningRate).toBe(1e-3);
  expect(config.data.train).toEqual(['a.txt', 'b c.txt']);
  expect(config.sample.prompt).toBe('a: b');
  expect(config.memory.nvme).toMatchObject({ paths: ['/mnt/disk'], size: 1.5 * 2 ** 30 });
});

test('the last one wins, items of lists are reached by index', () => {
  const text = 'optimizer: { groups: [{ match: a }, { match: b }] }';
  const config = load(text, ['seed=1', 'seed=2', 'optimizer.groups.1.frozen=true']);
  expect(config.seed).toBe(2);
  expect(config.optimizer.groups.map(({ frozen }) => frozen)).toEqual([false, true]);
});

test('an override takes the place of its alternative in the file', () => {
  expect(load('train: { epochs: 3 }', ['train.steps=5']).train).toMatchObject({ steps: 5, epochs: null });
  expect(load('schedule: { warmupSteps: 3 }', ['schedule.warmupFraction=0']).schedule).toMatchObject({
    warmupSteps: null,
    warmupFraction: 0,
  });
  expect(refuse('', ['train.steps=5', 'train.epochs=1'])).toContain('both given');
});

test.each([
  ['seed', '--set seed: expected key=value'],
  ['=1', 'expected key=value'],
  ['a..b=1', 'is not a key; write it as section.field'],
  ['train.steps=[1', 'the value is not valid YAML; quote it: --set \'train.steps="..."\''],
  ['sample.prompt=a: b', 'not valid YAML; quote it'],
  ['train.stps=1', '--set train.stps=1: unknown key "train.stps"; did you mean "steps"?'],
  ['train.steps=abc', '--set train.steps=abc: train.steps: expected integer >= 1, or null, got "abc"'],
  ['seed.deeper=1', 'seed is 3, it has no "deeper"'],
  ['optimizer.groups.2.frozen=true', 'optimizer.groups has 1 items, there is no "2"'],
])('--set %s', (override, message) => {
  const text = 'seed: 3\noptimizer: { groups: [{ match: a }] }\n';
  expect(refuse(text, [override])).toContain(message);
});

test('every bad override is reported at once', () => {
  expect(refuse('', ['seed', 'a..b=1'])).toMatchInlineSnapshot(`
    "E_CONFIG command line: 2 problems
      --set seed: expected key=value, such as train.batchSize=4
      --set a..b=1: "a..b" is not a key; write it as section.field"
  `);
});

test('each value knows where it comes from', () => {
  const text = `name: tiny
model:
  architecture: llama
  config: { hidden_size: 64 }
optimizer:
  groups:
    - match: wte
      frozen: true
memory:
  gpu: 64MiB
  nvme: { path: /mnt/disk }
`;
  const { origins } = loadConfigWithOrigins(write('run.yaml', text), [
    'train.steps=5',
    { source: '--trace t.json', path: ['runtime', 'trace'], value: 't.json' },
  ]);
  const table = origins.map(({ path, value, origin }) => `${path} = ${JSON.stringify(value)} (${origin})`);
  expect(table.join('\n')).toMatchInlineSnapshot(`
    "name = "tiny" (run.yaml:1)
    seed = 1234 (default)
    device = "auto" (default)
    precision = "auto" (default)
    model.architecture = "llama" (run.yaml:3)
    model.config = {"hidden_size":64} (run.yaml:4)
    data.train = [] (default)
    data.validation = [] (default)
    data.validationFraction = 0.05 (default)
    data.validationSplit = "end" (default)
    data.format = "auto" (default)
    data.field = "text" (default)
    data.tokenizer = "byte" (default)
    data.sequenceLength = 256 (default)
    data.documentSeparator = "auto" (default)
    data.chatTemplate = null (default)
    data.maxBytes = null (default)
    data.shuffle = true (default)
    data.cache = ".tierra/cache" (default)
    train.steps = 5 (--set)
    train.epochs = null (default)
    train.batchSize = 8 (default)
    train.accumulate = 1 (default)
    train.clipNorm = 1 (default)
    train.nonFinite = "skip" (default)
    train.nonFiniteLimit = 5 (default)
    train.logEvery = 10 (default)
    train.evaluateEvery = 100 (default)
    train.evaluateBatches = 20 (default)
    train.saveEvery = 500 (default)
    train.keepLast = 2 (default)
    train.keepEvery = null (default)
    train.output = "runs/tiny" (default)
    train.resume = "auto" (default)
    optimizer.name = "adamw" (default)
    optimizer.states = "exact" (default)
    optimizer.learningRate = 0.0003 (default)
    optimizer.betas = [0.9,0.95] (default)
    optimizer.eps = 1e-8 (default)
    optimizer.weightDecay = 0.1 (default)
    optimizer.momentum = 0.9 (default)
    optimizer.nesterov = false (default)
    optimizer.decayNormsAndBiases = false (default)
    optimizer.groups = [{"match":"wte","learningRate":null,"weightDecay":null,"frozen":true}] (run.yaml:7)
    lossScale.constant = null (default)
    lossScale.initial = 65536 (default)
    lossScale.growthFactor = 2 (default)
    lossScale.backoffFactor = 0.5 (default)
    lossScale.growthInterval = 1000 (default)
    lossScale.hysteresis = 2 (default)
    lossScale.minimum = 1 (default)
    lossScale.maximum = 4294967296 (default)
    schedule.name = "cosine" (default)
    schedule.warmupSteps = null (default)
    schedule.warmupFraction = 0.05 (default)
    schedule.minRateFraction = 0.1 (default)
    schedule.power = 1 (default)
    memory.gpu = 67108864 (run.yaml:10)
    memory.cpu = "auto" (default)
    memory.nvme.paths = ["/mnt/disk"] (run.yaml:11)
    memory.nvme.size = "auto" (default)
    memory.nvme.backend = "auto" (default)
    memory.nvme.direct = true (default)
    memory.nvme.verify = true (default)
    memory.policy = "auto" (default)
    memory.static.gpuParameters = 0 (default)
    memory.static.gpuStates = 0 (default)
    memory.static.hostParameters = 1 (default)
    memory.static.hostStates = 1 (default)
    memory.activations = "keep" (default)
    memory.accumulation = "auto" (default)
    memory.chunkSize = "auto" (default)
    memory.checkpoint = "auto" (default)
    memory.speculate = "auto" (default)
    runtime.threads = "auto" (default)
    runtime.optimizerThreads = "auto" (default)
    runtime.deterministic = true (default)
    runtime.graphs = "auto" (default)
    runtime.watchdog = 600 (default)
    runtime.trace = "t.json" (--trace)
    record.store = "runs/tierra.db" (default)
    record.tensorboard = false (default)
    record.prometheus = null (default)
    sample.prompt = "" (default)
    sample.tokens = 200 (default)
    sample.temperature = 0.8 (default)
    sample.topK = null (default)
    sample.topP = 1 (default)
    sample.seed = 1234 (default)
    parallel.dp = "auto" (default)
    parallel.zero = 0 (default)
    parallel.replicate = 1 (default)
    parallel.reduce = "auto" (default)
    parallel.pp = 1 (default)
    parallel.tp = 1 (default)
    parallel.tensor = "1d" (default)
    parallel.depth = null (default)
    parallel.sp = 1 (default)
    parallel.sequence = "ring" (default)
    parallel.ep = 1 (default)
    parallel.pipeline.schedule = "1f1b" (default)
    parallel.pipeline.chunks = "auto" (default)
    parallel.pipeline.cuts = "balanced" (default)
    parallel.backend = "auto" (default)"
  `);
});
