/**
 * What a checkpoint costs while training goes on: `npx tsx bench/checkpoint.ts [--out file.md]`. Steps with a checkpoint under
 * way and steps without take turns; each placement is a process's own memory, in turn.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import type { ConfigInput } from '../src/config/index.ts';
import { formatBytes } from '../src/core/units.ts';
import { Checkpointer, type SaveReport } from '../src/engine/checkpointer.ts';
import { type Engine, initialize, launch } from '../src/engine/index.ts';
import { saveCheckpoint } from '../src/engine/saving.ts';
import { buildModel, type TokenBatch } from '../src/models/index.ts';
import { ops, type Tensor } from '../src/tensor/index.ts';

const { values: flags } = parseArgs({
  options: {
    out: { type: 'string' },
    rounds: { type: 'string', default: '6' },
    threads: { type: 'string', default: '1' },
  },
});
const rounds = Number(flags.rounds);
/** Steps from one checkpoint to the next; the last of them are without. */
const [stepsDuring, stepsApart] = [2, 2];
const shape = { vocab_size: 2048, n_positions: 256, n_embd: 256, n_layer: 4, n_head: 4 };
const [rows, length] = [2, 256];

interface Case {
  readonly name: string;
  memory(folder: string): ConfigInput['memory'];
}

const cases: readonly Case[] = [
  { name: 'everything resident', memory: () => ({}) },
  { name: 'states in host memory', memory: () => ({ gpu: '120MiB', cpu: '1GiB' }) },
  {
    name: 'states on disk',
    memory: (folder) => ({ gpu: '120MiB', cpu: '24MiB', nvme: { path: folder, size: '2GiB' } }),
  },
  { name: 'everything resident, buffer of 8 MiB', memory: () => ({ checkpoint: '8MiB' }) },
];

const statusKiB = (key: string): number =>
  Number(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);
const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1]!;
const ms = (value: number): string => (value < 10 ? value.toFixed(1) : value.toFixed(0));

function batch(seed: number): TokenBatch {
  const ids = BigInt64Array.from({ length: rows * length }, (_, i) =>
    BigInt((i * 7919 + seed * 104_729) % shape.vocab_size),
  );
  const tensor = ops.fromArray(ids, [rows, length]).keep();
  return { ids: tensor, labels: tensor } as TokenBatch;
}

function step(engine: Engine<TokenBatch, Tensor>, input: TokenBatch): number {
  const began = performance.now();
  engine.zeroGrad();
  engine.backward(engine.forward(input));
  engine.step();
  return performance.now() - began;
}

async function measure({ name, memory }: Case): Promise<string[]> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'tierra-bench-checkpoint-'));
  const built = buildModel({ architecture: 'gpt2', config: shape });
  const threads = Number(flags.threads);
  const context = launch({
    device: 'cpu',
    precision: 'fp32',
    train: { steps: 1000, output: path.join(folder, 'out'), keepLast: 1, clipNorm: null },
    memory: memory(path.join(folder, 'swap')),
    runtime: { threads, optimizerThreads: threads },
  } as ConfigInput);
  const engine = initialize<TokenBatch, Tensor>({ context, model: built.model as never });
  const input = batch(1);
  const reports: SaveReport[] = [];
  const save = { built, config: context.config, totalSteps: 1000 };
  const checkpointer = new Checkpointer(engine, save, {
    saved: (report) => void reports.push(report),
    failed: (error) => {
      throw error;
    },
  });
  const position = {} as never;
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  for (let warm = 0; warm < 3; warm++) step(engine, input);
  // The first save takes the buffer and starts the thread.
  await checkpointer.save(position);
  await checkpointer.finish();
  reports.length = 0;

  const [during, apart, wholeMs]: [number[], number[], number[]] = [[], [], []];
  for (let round = 0; round < rounds; round++) {
    step(engine, input);
    await checkpointer.save(position);
    for (let i = 0; i < stepsDuring; i++) {
      during.push(step(engine, input));
      await turn();
    }
    await checkpointer.finish();
    for (let i = 0; i < stepsApart; i++) apart.push(step(engine, input));
  }
  const blocked = reports.map(({ blockedMs }) => blockedMs);
  // Alone, so that every CPU second and every page is the checkpoint's.
  step(engine, input);
  engine.store.stateEntries();
  writeFileSync('/proc/self/clear_refs', '5');
  const [rssBefore, cpuBefore] = [statusKiB('VmRSS'), process.cpuUsage()];
  await checkpointer.save(position);
  await checkpointer.finish();
  const cpu = process.cpuUsage(cpuBefore);
  const peakKiB = statusKiB('VmHWM') - rssBefore;
  for (let round = 0; round < 3; round++) {
    step(engine, input);
    const began = performance.now();
    await saveCheckpoint(engine, save, position);
    wholeMs.push(performance.now() - began);
  }
  const last = reports.at(-1)!;
  const stepMs = median(apart);
  const row = [
    name,
    formatBytes(last.written.bytes),
    ms(stepMs),
    ms(median(during)),
    `${ms(median(blocked))} (${((100 * median(blocked)) / stepMs).toFixed(1)} %)`,
    ms(Math.max(...blocked)),
    ms(median(wholeMs)),
    ((cpu.user + cpu.system) / 1e6).toFixed(2),
    formatBytes(checkpointer.bufferBytes),
    formatBytes(peakKiB * 1024),
  ];
  console.log(row.join('  '));
  await checkpointer.dispose();
  engine.dispose();
  input.ids.dispose();
  rmSync(folder, { recursive: true, force: true });
  return row;
}

const table: string[][] = [];
for (const one of cases) table.push(await measure(one));
const header = [
  'placement',
  'checkpoint',
  'step, ms',
  'step beside a save, ms',
  'blocked, ms (share of a step)',
  'blocked, worst',
  'whole save while training waits, ms',
  'CPU s of a save',
  'buffer',
  'peak RSS of a save above before',
];
const text = [
  '# Checkpoints behind training',
  '',
  `GPT-2 shape, ${JSON.stringify(shape)}, fp32, AdamW, ${rows} × ${length} tokens a step on ${flags.threads} thread(s) of ${os.cpus().length} × ${os.cpus()[0]!.model.trim()};`,
  `load average ${os.loadavg()[0]!.toFixed(1)} at the end. ${rounds} rounds of one save with ${stepsDuring} steps beside it, then ${stepsApart} steps without; medians.`,
  '*Blocked* is what the thread that trains knows: beginning a save, and waiting for copies before it overwrites.',
  'CPU seconds and peak are of a save with nothing beside it.',
  '',
  `| ${header.join(' | ')} |`,
  `|${'---|'.repeat(header.length)}`,
  ...table.map((row) => `| ${row.join(' | ')} |`),
  '',
].join('\n');
const day = new Date().toISOString().slice(0, 10);
const out = flags.out ?? path.join(import.meta.dirname, 'results', `${day}-checkpoint.md`);
writeFileSync(out, text);
console.log(out);
