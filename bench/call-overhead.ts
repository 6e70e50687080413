/**
 * What one operator call costs: `add` on one element (dispatch and boundary alone) and `mm` of 64x64, beside an empty
 * JavaScript function. Rounds of all cases are interleaved, the first rounds dropped, medians printed.
 *
 *     npx tsx bench/call-overhead.ts
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import type { TensorHandle, Unboxed } from '../src/native/binding.ts';
import { native } from '../src/native/load.ts';

const rounds = 25;
const warmUpRounds = 5;
const callsPerRound = 20_000;

const addon = native();
addon.setThreads(1);
const handle = (value: Unboxed) => value as number as TensorHandle;
const add = addon.findOperator('aten::add', 'Tensor');
const mm = addon.findOperator('aten::mm', '');
const dim = addon.findOperator('aten::dim', '');
const randn = addon.findOperator('aten::randn', '');
const one = handle(addon.call(randn, [1]));
const matrix = handle(addon.call(randn, [64, 64]));
const leaf = handle(addon.call(randn, [1]));
addon.setRequiresGrad(leaf, true);

const empty = (_operator: number, _a: number, _b: number): number => 0;
let sink = 0;

interface Case {
  readonly name: string;
  readonly body: () => void;
}
const cases: Case[] = [
  {
    name: 'empty JavaScript function',
    body: () => {
      sink += empty(add, one, one);
    },
  },
  { name: 'liveTensors() (the boundary alone)', body: () => void addon.liveTensors() },
  { name: 'call dim (no tensor made)', body: () => void addon.call(dim, one) },
  { name: 'call add, 1 element, and release', body: () => addon.release(handle(addon.call(add, one, one))) },
  { name: 'the same, recording a graph', body: () => addon.release(handle(addon.call(add, leaf, one))) },
  { name: 'call mm 64x64 fp32, and release', body: () => addon.release(handle(addon.call(mm, matrix, matrix))) },
];

function nsPerCall(body: () => void): number {
  const start = process.hrtime.bigint();
  for (let i = 0; i < callsPerRound; i++) body();
  return Number(process.hrtime.bigint() - start) / callsPerRound;
}

const samples = cases.map((): number[] => []);
for (let round = 0; round < rounds; round++) {
  for (const [index, { body }] of cases.entries()) {
    const ns = nsPerCall(body);
    if (round >= warmUpRounds) samples[index]!.push(ns);
  }
}

const rows = cases.map(({ name }, index) => {
  const sorted = samples[index]!.sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.floor((sorted.length - 1) * share)]!.toFixed(0);
  return `| ${name} | ${at(0.5)} | ${at(0.1)} | ${at(0.9)} |`;
});
const load = loadavg()[0]!.toFixed(1);
const machine = `${cpus()[0]!.model.trim()}, ${cpus().length} cores, load ${load}; Node ${process.versions.node}, libtorch ${addon.buildInfo.torchVersion}, 1 thread`;
const table = [
  '# What an operator call costs',
  '',
  `${machine}. ns per call, median of ${rounds - warmUpRounds} rounds of ${callsPerRound} calls, cases interleaved.`,
  '`npx tsx bench/call-overhead.ts` prints this again.',
  '',
  '| | median | 10 % | 90 % |',
  '|---|---|---|---|',
  ...rows,
  '',
].join('\n');
console.log(table);
if (sink !== 0) throw new Error('unreachable: keeps the empty call from being removed');
const folder = new URL('results/', import.meta.url);
mkdirSync(folder, { recursive: true });
writeFileSync(new URL(`${new Date().toISOString().slice(0, 10)}-call-overhead.md`, folder), table);
