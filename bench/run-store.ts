/**
 * What recording costs a step, and what a day of steps at 100 a second takes on disk and to look at.
 *
 *     npm run build && npx tsx bench/run-store.ts [steps]
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import path from 'node:path';
import { openStore, piecesOf, pointsOf, StoreRecord } from '../src/telemetry/runStore/index.ts';

const steps = Number(process.argv[2] ?? 8_640_000);
const perSecond = 100;
const folder = mkdtempSync(path.join(tmpdir(), 'tierra-bench-runs-'));
const file = path.join(folder, 'tierra.db');
const loadBefore = loadavg()[0]!;

let clockMs = Date.now();
const record = new StoreRecord({
  file,
  name: 'day',
  output: path.join(folder, 'day'),
  config: {},
  git: null,
  machine: {},
  host: 'bench',
  now: () => clockMs,
  onTrouble: (text) => {
    throw new Error(text);
  },
});
record.begin({ name: 'day', totalSteps: steps, completedSteps: 0, parameters: 1, device: 'cpu', precision: 'fp32' });

/** Standard normal (Box and Muller). */
const normal = (): number => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());

const cpuBefore = process.cpuUsage();
const flushMs: number[] = [];
let stepMs = 0;
for (let step = 1; step <= steps; step++) {
  const gradientNorm = 0.9 * Math.exp(0.25 * normal());
  const seconds = 0.0095 * (1 + 0.03 * Math.abs(normal()));
  const row = {
    step,
    loss: 1.8 + 3.5 / (1 + step / 20_000) + 0.15 * normal(),
    gradientNorm,
    clipFactor: Math.min(1, 1 / gradientNorm),
    learningRate: 3e-4 * (0.55 + 0.45 * Math.cos((Math.PI * step) / steps)),
    lossScale: null,
    tokens: 4096,
    seconds,
  };
  clockMs += 1000 / perSecond;
  const began = performance.now();
  record.step(row);
  const tookMs = performance.now() - began;
  stepMs += tookMs;
  // Once a second the call writes.
  if (step % perSecond === 0) flushMs.push(tookMs);
}
record.finish('completed');
const { user, system } = process.cpuUsage(cpuBefore);
const openBytes = ['', '-wal'].reduce((sum, end) => sum + (existsSync(file + end) ? statSync(file + end).size : 0), 0);
record.dispose();
const bytes = statSync(file).size;

const database = openStore(file, { mustExist: true, busyMs: 1000 });
const queries = times(5, () => pointsOf(piecesOf(database, 1), 200));
database.close();
const main = path.resolve(import.meta.dirname, '../dist/cli/main.js');
const shows = processes(['runs', 'show', 'day', '--store', file]);
const bare = processes(['--version']);
rmSync(folder, { recursive: true });

/** Wall and processor milliseconds of five processes. */
function processes(args: readonly string[]): { readonly wall: number[]; readonly cpu: number[] } {
  const cpu: number[] = [];
  const timed = 'TIMEFORMAT="%U %S"; time "$@" >/dev/null';
  const wall = times(5, () => {
    const { status, stderr } = spawnSync('bash', ['-c', timed, 'bash', process.execPath, main, ...args]);
    if (status !== 0) throw new Error(stderr.toString());
    const seconds = stderr.toString().trim().split(' ').map(Number);
    cpu.push(1e3 * seconds.reduce((sum, value) => sum + value, 0));
  });
  return { wall, cpu };
}

function times(count: number, run: () => unknown): number[] {
  return Array.from({ length: count }, () => {
    const began = performance.now();
    run();
    return performance.now() - began;
  });
}

const quantile = (values: readonly number[], q: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(q * values.length))]!;
const ms = (value: number): string => (value < 10 ? value.toFixed(2) : value.toFixed(0));

console.log(`${cpus()[0]?.model.trim()}, ${cpus().length} cores, Node ${process.version}, ${steps} steps`);
console.log(`load average ${loadBefore.toFixed(1)} before, ${loadavg()[0]!.toFixed(1)} after\n`);
console.log('| | |\n|---|---|');
console.log(`| cost of a step, writing included, mean | ${((1e3 * stepMs) / steps).toFixed(2)} us |`);
console.log(`| the same on a processor, making up the numbers included | ${((user + system) / steps).toFixed(2)} us |`);
console.log(
  `| the writing call, once a second: median, 99 %, 99.9 %, longest | ${[0.5, 0.99, 0.999, 1].map((q) => ms(quantile(flushMs, q))).join(', ')} ms |`,
);
console.log(`| store, closed | ${(bytes / 1e6).toFixed(1)} MB, ${(bytes / steps).toFixed(2)} bytes a step |`);
console.log(`| store and log before closing | ${(openBytes / 1e6).toFixed(1)} MB |`);
console.log(`| reading the curves | ${ms(quantile(queries, 0.5))} ms |`);
for (const [name, { wall, cpu }] of [
  ['`tierra runs show`', shows],
  ['`tierra --version`, for comparison', bare],
] as const) {
  console.log(`| ${name} | ${ms(quantile(wall, 0.5))} ms, of them ${ms(quantile(cpu, 0.5))} ms on a processor |`);
}
