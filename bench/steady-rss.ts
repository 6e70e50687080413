/**
 * 1,000 training steps: do resident memory, live tensors and allocations stay flat? A small GPT with accumulation,
 * dropout, clipping and AdamW, one evaluation every 100 steps.
 *
 *     npx tsx --expose-gc bench/steady-rss.ts
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { initialize, launch, models, ops, scope, type Tensor } from '../src/index.ts';
import { native } from '../src/native/load.ts';

const steps = 1000;
const every = 100;

interface Reading {
  readonly step: number;
  readonly rssMiB: number;
  readonly allocatedMiB: number;
  readonly liveTensors: number;
  readonly systemAllocations: number;
}

const context = launch({
  device: 'cpu',
  runtime: { threads: 2, optimizerThreads: 2 },
  train: { steps, accumulate: 2, clipNorm: 0.5 },
});
const { model } = models.buildModel({ preset: 'gpt2-bytes-1m', overrides: { resid_pdrop: 0.1 } });
using engine = initialize<models.TokenBatch, Tensor>({ context, model });

function batch(seed: number): models.TokenBatch & { labels: Tensor } {
  const ids = BigInt64Array.from({ length: 2 * 64 }, (_, index) => BigInt((seed * 31 + index * index) % 256));
  return { ids: ops.fromArray(ids, [2, 64]), labels: ops.fromArray(ids, [2, 64]) };
}

function read(step: number): Reading {
  globalThis.gc?.();
  const { allocatedBytes, systemAllocations } = native().memoryStats('cpu');
  return {
    step,
    rssMiB: process.memoryUsage.rss() / 2 ** 20,
    allocatedMiB: allocatedBytes / 2 ** 20,
    liveTensors: native().liveTensors(),
    systemAllocations,
  };
}

const readings: Reading[] = [];
for (let step = 1; step <= steps; step++) {
  engine.train().zeroGrad();
  for (let micro = 0; micro < engine.accumulate; micro++) engine.backward(engine.forward(batch(step * 2 + micro)));
  engine.step();
  if (step % every === 0) {
    engine.eval();
    scope(() => engine.forward(batch(0)).item());
  }
  if (step === 1 || step === 10 || step % every === 0) readings.push(read(step));
}

const row = ({ step, rssMiB, allocatedMiB, liveTensors, systemAllocations }: Reading): string =>
  `| ${step} | ${rssMiB.toFixed(1)} | ${allocatedMiB.toFixed(2)} | ${liveTensors} | ${systemAllocations} |`;
const from = readings.find(({ step }) => step === every)!;
const to = readings.at(-1)!;
const text = `# Memory over ${steps} steps

${cpus()[0]!.model.trim()}, ${cpus().length} cores, load ${loadavg()[0]!.toFixed(1)}; Node ${process.versions.node}, libtorch ${native().buildInfo.torchVersion}, 2 threads. \`gpt2-bytes-1m\` with dropout, 2 micro-batches of 2x64, AdamW, clipping, an evaluation every ${every} steps; JavaScript's garbage is collected before each reading.
\`npx tsx --expose-gc bench/steady-rss.ts\` prints this again.

| step | RSS, MiB | in use by libtorch, MiB | live tensors | allocations from the system |
|---|---|---|---|---|
${readings.map(row).join('\n')}

From step ${every} to step ${steps}: RSS ${(to.rssMiB - from.rssMiB).toFixed(1)} MiB, tensors ${to.liveTensors - from.liveTensors}, allocations from the system ${to.systemAllocations - from.systemAllocations}.
`;
process.stdout.write(text);
mkdirSync('bench/results', { recursive: true });
writeFileSync(`bench/results/${new Date().toISOString().slice(0, 10)}-steady-rss.md`, text);
