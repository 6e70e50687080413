/**
 * `tierra plan` against real runs: peak bytes per tier and step time, as predicted from shapes before anything is loaded,
 * as predicted from the traced micro-batch, and as measured. Runs are interleaved over the rounds; each prediction is made
 * with rates measured right before its run, since other work on the machine changes both.
 *
 *   npx tsx bench/forecast.ts [--device cpu|cuda] [--rounds N] [--steps N] [--threads N] [--folder DIR] [--only TEXT]
 *
 * Uses up to 4 GiB of memory and 1 GiB of disk on the CPU, 45 and 30 GiB with a GPU, and leaves nothing. Writes
 * bench/results/<date>-forecast.md, or -forecast-gpu.md.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, release, tmpdir, totalmem } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type ConfigInput, resolveConfig } from '../src/config/index.ts';
import { formatBytes, formatSeconds } from '../src/core/units.ts';
import { initialize, launch } from '../src/engine/index.ts';
import { estimatePlan } from '../src/engine/planEstimate.ts';
import { type Plan, planStep } from '../src/memory/index.ts';
import { buildModel, type LanguageModel, type ModelSettings, type TokenBatch } from '../src/models/index.ts';
import { native } from '../src/native/load.ts';
import { ChunkStore } from '../src/offload/chunked/chunkStore.ts';
import { ops, type Tensor } from '../src/tensor/index.ts';

const { values } = parseArgs({
  options: {
    device: { type: 'string', default: 'cpu' },
    rounds: { type: 'string', default: '3' },
    steps: { type: 'string', default: '6' },
    threads: { type: 'string', default: '4' },
    folder: { type: 'string', default: tmpdir() },
    only: { type: 'string', default: '' },
  },
});
const rounds = Number(values.rounds);
const steps = Number(values.steps);
const threads = Number(values.threads);
const folder = mkdtempSync(path.join(values.folder, 'tierra-forecast-'));

interface Case {
  readonly name: string;
  readonly config: ConfigInput;
}

const gpt2 = (n_embd: number, n_layer: number, n_head: number) => ({
  architecture: 'gpt2' as const,
  config: { n_embd, n_layer, n_head, n_positions: 512 },
});
const llama = (width: number, hidden: number, layers: number) => ({
  architecture: 'llama' as const,
  config: {
    hidden_size: width,
    intermediate_size: hidden,
    num_hidden_layers: layers,
    num_attention_heads: width / 64,
    num_key_value_heads: width / 128,
  },
});
const train = (batchSize: number, accumulate = 1) => ({ batchSize, accumulate, steps: 1000 });
const data = (sequenceLength: number) => ({ sequenceLength });
const disk = (size: string) => ({ path: folder, size });

const cpuCases: readonly Case[] = [
  {
    name: 'GPT-2 25M, all on the device',
    config: { model: gpt2(512, 8, 8), data: data(256), train: train(4), memory: { gpu: '2GiB', cpu: '1GiB' } },
  },
  {
    name: 'GPT-2 25M, host',
    config: { model: gpt2(512, 8, 8), data: data(256), train: train(4), memory: { gpu: '300MiB', cpu: '1GiB' } },
  },
  {
    name: 'GPT-2 85M, recompute, host',
    config: {
      model: gpt2(768, 12, 12),
      data: data(256),
      train: train(2),
      memory: { gpu: '160MiB', cpu: '3GiB', activations: 'recompute' },
    },
  },
  {
    name: 'GPT-2 25M, states on disk',
    config: {
      model: gpt2(512, 8, 8),
      data: data(256),
      train: train(4),
      memory: { gpu: '300MiB', cpu: '160MiB', nvme: disk('2GiB') },
    },
  },
  {
    name: 'Llama 19M, host',
    config: {
      model: llama(512, 1408, 6),
      data: data(256),
      train: train(4),
      memory: { gpu: '420MiB', cpu: '1GiB' },
    },
  },
  {
    name: 'Llama 38M, recompute, disk',
    config: {
      model: llama(512, 1408, 12),
      data: data(256),
      train: train(2),
      memory: { gpu: '120MiB', cpu: '240MiB', nvme: disk('2GiB'), activations: 'recompute' },
    },
  },
  {
    name: 'Llama 19M, four micro-batches, host',
    config: {
      model: llama(512, 1408, 6),
      data: data(256),
      train: train(1, 4),
      memory: { gpu: '440MiB', cpu: '1GiB' },
    },
  },
  {
    name: 'Llama 19M, bf16, host',
    config: {
      model: llama(512, 1408, 6),
      precision: 'bf16',
      data: data(256),
      train: train(2),
      memory: { gpu: '180MiB', cpu: '1GiB' },
    },
  },
];

const gpuCases: readonly Case[] = [
  {
    name: 'GPT-2 355M, all on the GPU',
    config: { model: gpt2(1024, 24, 16), data: data(512), train: train(8), memory: { gpu: '40GiB', cpu: '8GiB' } },
  },
  {
    name: 'GPT-2 774M, host',
    config: { model: gpt2(1280, 36, 20), data: data(512), train: train(8), memory: { gpu: '12GiB', cpu: '32GiB' } },
  },
  {
    name: 'Llama 1.1B, recompute, host',
    config: {
      model: llama(2048, 5632, 22),
      data: data(1024),
      train: train(8),
      memory: { gpu: '6GiB', cpu: '40GiB', activations: 'recompute' },
    },
  },
  {
    name: 'Llama 1.1B, four micro-batches, host',
    config: {
      model: llama(2048, 5632, 22),
      data: data(1024),
      train: train(4, 4),
      memory: { gpu: '8GiB', cpu: '45GiB', activations: 'recompute' },
    },
  },
  {
    name: 'Llama 1.1B, recompute, disk',
    config: {
      model: llama(2048, 5632, 22),
      data: data(1024),
      train: train(8),
      memory: { gpu: '6GiB', cpu: '8GiB', nvme: disk('30GiB'), activations: 'recompute' },
    },
  },
];
const onGpu = values.device !== 'cpu';
const cases = onGpu ? gpuCases : cpuCases;

type Bytes = { readonly gpu: number; readonly host: number; readonly nvme: number };

interface Outcome {
  readonly estimated: Plan;
  readonly traced: Plan;
  readonly peak: Bytes;
  readonly seconds: number;
}

async function run({ config: input }: Case): Promise<Outcome> {
  const full: ConfigInput = {
    device: onGpu ? 'cuda' : 'cpu',
    runtime: { threads, optimizerThreads: threads },
    ...input,
  };
  const config = resolveConfig(full);
  const subject = await estimatePlan(config, { described: null, measure: true });
  const estimated = planStep(subject.input);
  const context = launch(full);
  const { model } = buildModel({
    ...(config.model as ModelSettings & { config: object }),
    config: { ...hfConfig(config), vocab_size: 257 },
  });
  using engine = initialize<TokenBatch, Tensor>({ context, model: model as LanguageModel, totalSteps: 1000 });
  const { batchSize, accumulate } = config.train;
  const { sequenceLength } = config.data;
  const shape = [batchSize, sequenceLength];
  const ids = Array.from({ length: accumulate }, (_, i) =>
    ops
      .fromArray(
        BigInt64Array.from({ length: batchSize * sequenceLength }, (_, j) => BigInt((i * 31 + j * 7) % 257)),
        shape,
        { device: context.device },
      )
      .keep(),
  );
  const seconds: number[] = [];
  for (let step = 0; step < steps + 2; step++) {
    const began = performance.now();
    engine.zeroGrad();
    engine.runMicroBatches(ids.map((tensor) => ({ ids: tensor, labels: tensor })));
    engine.step();
    native().synchronize(context.device);
    if (step >= 2) seconds.push((performance.now() - began) / 1e3);
  }
  const { store } = engine;
  if (!(store instanceof ChunkStore) || store.plan === null) throw new Error('this run has no plan');
  const traced = store.plan;
  const use = (tier: string): number => store.use().find((entry) => entry.tier === tier)?.usedBytes ?? 0;
  const peak = {
    // What the allocator holds, gaps between its blocks included: that is what the device lacks.
    gpu: traced.arenaBytes.gpu + native().memoryStats(context.device).reservedBytes,
    host: use('host'),
    nvme: use('nvme'),
  };
  for (const tensor of ids) tensor.dispose();
  return { estimated, traced, peak, seconds: median(seconds) };
}

const hfConfig = (config: ReturnType<typeof resolveConfig>): object =>
  config.model !== null && 'config' in config.model ? config.model.config : {};

function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)]!;
}

const peakOf = ({ arenaBytes, otherBytes }: Plan): Bytes => ({
  gpu: arenaBytes.gpu + otherBytes.gpu,
  host: arenaBytes.host + otherBytes.host,
  nvme: arenaBytes.nvme + otherBytes.nvme,
});

const ratio = (predicted: number, measured: number): string =>
  measured === 0 ? '-' : (predicted / measured).toFixed(2);

async function main(): Promise<void> {
  const chosen = cases.filter(({ name }) => name.includes(values.only));
  const outcomes = new Map<string, Outcome[]>(chosen.map(({ name }) => [name, []]));
  const before = loadavg()[0]!;
  for (let round = 0; round < rounds; round++) {
    for (const each of chosen) {
      const outcome = await run(each);
      outcomes.get(each.name)!.push(outcome);
      const { estimated, traced, seconds } = outcome;
      process.stderr.write(
        `${each.name}: measured ${formatSeconds(seconds)}, from shapes ${formatSeconds(estimated.forecast.stepSeconds)}, traced ${formatSeconds(traced.forecast.stepSeconds)}\n`,
      );
    }
    report(outcomes, before, round + 1);
  }
}

/** Written after every round: a run that is stopped leaves what it has. */
function report(outcomes: ReadonlyMap<string, readonly Outcome[]>, before: number, done: number): void {
  const bytes: string[] = [];
  const times: string[] = [];
  for (const [name, all] of outcomes) {
    for (const tier of ['gpu', 'host', 'nvme'] as const) {
      const measured = median(all.map(({ peak }) => peak[tier]));
      if (measured === 0) continue;
      const shapes = median(all.map(({ estimated }) => peakOf(estimated)[tier]));
      const traced = median(all.map((outcome) => peakOf(outcome.traced)[tier]));
      bytes.push(
        `| ${name} | ${tier} | ${formatBytes(measured)} | ${formatBytes(shapes)} | ${ratio(shapes, measured)} | ${formatBytes(traced)} | ${ratio(traced, measured)} |`,
      );
    }
    const measured = median(all.map(({ seconds }) => seconds));
    const shapes = median(all.map(({ estimated, seconds }) => estimated.forecast.stepSeconds / seconds));
    const traced = median(all.map((outcome) => outcome.traced.forecast.stepSeconds / outcome.seconds));
    const spread = all.map(({ seconds }) => seconds).sort((a, b) => a - b);
    times.push(
      `| ${name} | ${formatSeconds(measured)} | ${formatSeconds(spread[0]!)} to ${formatSeconds(spread.at(-1)!)} | ${shapes.toFixed(2)} | ${traced.toFixed(2)} |`,
    );
  }
  write(bytes, times, before, done);
}

function write(bytes: readonly string[], times: readonly string[], before: number, done: number): void {
  const commit = commitHash();
  const date = new Date().toISOString().slice(0, 10);
  const text = `# Forecast against reality

${cpus()[0]!.model.trim()}, ${cpus().length} cores, ${formatBytes(totalmem())} of memory, Linux ${release()}, libtorch ${native().buildInfo.torchVersion}, commit ${commit}.
Load average ${before.toFixed(1)} before, ${loadavg()[0]!.toFixed(1)} after. ${done} interleaved rounds of ${steps} measured steps, ${threads} threads.
Made by \`npx tsx bench/forecast.ts\`. ${onGpu ? native().deviceInfo(0).name : 'On this machine RAM plays the GPU'}.

*Shapes*: what \`tierra plan\` says before anything is loaded. *Traced*: the plan of the run itself, after its trial micro-batch.
Ratios are predicted over measured; goals: bytes within 5 %, time within 25 %.

## Peak bytes per tier

| run | tier | measured | shapes | ratio | traced | ratio |
|---|---|---|---|---|---|---|
${bytes.join('\n')}

## Step time

Medians over rounds of the ratio within a round.

| run | measured | range over rounds | shapes / measured | traced / measured |
|---|---|---|---|---|
${times.join('\n')}
`;
  const results = path.join(path.dirname(fileURLToPath(import.meta.url)), 'results');
  mkdirSync(results, { recursive: true });
  writeFileSync(path.join(results, `${date}-forecast${onGpu ? '-gpu' : ''}.md`), text);
  if (done === rounds) process.stdout.write(text);
}

function commitHash(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim();
  } catch {
    return process.env.COMMIT ?? 'unknown';
  }
}

main().finally(() => rmSync(folder, { recursive: true, force: true }));
