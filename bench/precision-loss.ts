/**
 * The first run's model and data in every precision and with compressed states: loss curves side by side, one after another in this
 * process, everything resident, for several seeds. Prints a table and, with --write FILE, puts it into a page. With
 * --state FILE --minutes 5 it stops after the run in which the minutes are over, and the same command goes on from there.
 * Run: npx tsx bench/precision-loss.ts --steps 300 --seeds 1,2,3 [--only 'bf16+bf16, compressed'] [--beta2 0.999] [--device cpu]
 */
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { type Config, loadConfig } from '../src/config/index.ts';
import { runTraining } from '../src/engine/run.ts';
import type { Progress } from '../src/telemetry/index.ts';

const { values } = parseArgs({
  options: {
    steps: { type: 'string', default: '300' },
    only: { type: 'string' },
    beta2: { type: 'string', default: '0.99' },
    device: { type: 'string', default: 'auto' },
    write: { type: 'string' },
    seeds: { type: 'string', default: '1' },
    state: { type: 'string' },
    minutes: { type: 'string', default: 'Infinity' },
  },
});
const steps = Number(values.steps);
const seeds = values.seeds.split(',').map(Number);

interface Case {
  readonly name: string;
  readonly settings: readonly string[];
}

const cases: readonly Case[] = [
  { name: 'fp32', settings: ['precision=fp32'] },
  { name: 'fp32, compressed', settings: ['precision=fp32', 'optimizer.states=compressed'] },
  { name: 'bf16', settings: ['precision=bf16'] },
  { name: 'bf16, compressed', settings: ['precision=bf16', 'optimizer.states=compressed'] },
  { name: 'fp16', settings: ['precision=fp16'] },
];

interface Curve {
  readonly name: string;
  readonly seed: number;
  readonly losses: number[];
  validation: number;
  overflows: number;
}

async function train({ name, settings }: Case, seed: number): Promise<Curve> {
  const output = mkdtempSync(path.join(tmpdir(), 'tierra-precision-'));
  const curve: Curve = { name, seed, losses: [], validation: Number.NaN, overflows: 0 };
  const progress: Progress = {
    start() {},
    step: ({ loss }) => void curve.losses.push(loss),
    evaluation({ loss }) {
      curve.validation = loss;
    },
    saved() {},
    note(_text, event) {
      if (event?.kind === 'scale') curve.overflows++;
    },
    warn: (text) => console.error(`${name}: ${text}`),
    finish() {},
    dispose() {},
    [Symbol.dispose]() {},
  };
  const overrides = [
    `device=${values.device}`,
    'memory.gpu=auto',
    'memory.cpu=auto',
    'memory.nvme=null',
    'memory.activations=keep',
    `optimizer.betas=[0.9,${values.beta2}]`,
    `train.steps=${steps}`,
    'train.evaluateEvery=null',
    'train.saveEvery=null',
    'train.evaluateBatches=20',
    'sample.tokens=1',
    `train.output=${output}`,
    `seed=${seed}`,
    'record=null',
    ...settings,
  ];
  try {
    const config: Config = loadConfig('examples/01-first-run/config.yaml', overrides);
    await runTraining(config, { progress, signal: new AbortController().signal });
  } finally {
    rmSync(output, { recursive: true, force: true });
  }
  return curve;
}

/** Curves of earlier batches: the same command goes on where it stopped. */
function earlier(): Curve[] {
  if (values.state === undefined || !existsSync(values.state)) return [];
  const lines = readFileSync(values.state, 'utf8').trim().split('\n');
  return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as Curve);
}

const mean = (numbers: readonly number[]): number => numbers.reduce((sum, each) => sum + each, 0) / numbers.length;
/** Mean training loss over the tenth of the run that ends at `step`. */
const around = ({ losses }: Curve, step: number): number => mean(losses.slice(Math.max(0, step - steps / 10), step));
/** `mean (least … most)`; of one seed only the number. */
function spread(numbers: readonly number[], digits: number): string {
  const of = (value: number): string => value.toFixed(digits);
  if (numbers.length === 1) return of(numbers[0]!);
  return `${of(mean(numbers))} (${of(Math.min(...numbers))} … ${of(Math.max(...numbers))})`;
}

const wanted = values.only?.split('+');
const chosen = cases.filter(({ name }) => wanted === undefined || wanted.includes(name));
const curves = earlier();
const until = performance.now() + Number(values.minutes) * 60e3;
// Seeds outside, so that what is there after any of them can be compared.
for (const seed of seeds) {
  for (const each of chosen) {
    if (curves.some((curve) => curve.name === each.name && curve.seed === seed)) continue;
    if (performance.now() > until) continue;
    const curve = await train(each, seed);
    curves.push(curve);
    if (values.state !== undefined) appendFileSync(values.state, `${JSON.stringify(curve)}\n`);
  }
}

const points = [0.1, 0.25, 0.5, 0.75, 1].map((share) => Math.round(share * steps));
const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
let text = `beta2 ${values.beta2}, ${steps} steps, seeds ${seeds.join(', ')}: mean (least … most)\n\n`;
const add = (cells: readonly string[]): void => {
  text += `${row(cells)}\n`;
};
const reference = chosen[0]!.name;
add([
  '',
  ...points.map((step) => `to step ${step}`),
  'validation',
  `validation against ${reference}, seed by seed`,
  'overflows',
]);
add(['---', ...points.map(() => '---'), '---', '---', '---']);
for (const { name } of chosen) {
  const own = curves.filter((curve) => curve.name === name);
  if (own.length === 0) continue;
  const changes = own.flatMap(({ seed, validation }) => {
    const other = curves.find((curve) => curve.name === reference && curve.seed === seed);
    return other === undefined ? [] : [(validation / other.validation - 1) * 100];
  });
  add([
    name,
    ...points.map((step) =>
      spread(
        own.map((curve) => around(curve, step)),
        3,
      ),
    ),
    spread(
      own.map(({ validation }) => validation),
      4,
    ),
    name === reference || changes.length === 0 ? '' : `${spread(changes, 2)} %`,
    name.startsWith('fp16') ? own.map(({ overflows }) => overflows).join(', ') : '',
  ]);
}
console.log(text);
if (values.write !== undefined) appendFileSync(values.write, `${text}\n`);
