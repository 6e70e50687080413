/**
 * The first run's model and data in every precision and with compressed states: loss curves side by side, one after another in this
 * process, everything resident. Prints a table and, with --write FILE, puts it into a page.
 * Run: npx tsx bench/precision-loss.ts --steps 300 [--only 'bf16+bf16, compressed'] [--beta2 0.999]
 */
import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
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
    write: { type: 'string' },
  },
});
const steps = Number(values.steps);

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
  readonly losses: number[];
  validation: number;
  overflows: number;
}

async function train({ name, settings }: Case): Promise<Curve> {
  const output = mkdtempSync(path.join(tmpdir(), 'tierra-precision-'));
  const curve: Curve = { name, losses: [], validation: Number.NaN, overflows: 0 };
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

const mean = (losses: readonly number[]): number => losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
/** Mean training loss over the tenth of the run that ends at `step`. */
const around = ({ losses }: Curve, step: number): number => mean(losses.slice(Math.max(0, step - steps / 10), step));

const wanted = values.only?.split('+');
const points = [0.1, 0.25, 0.5, 0.75, 1].map((share) => Math.round(share * steps));
const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
let text = `beta2 ${values.beta2}, ${steps} steps\n\n`;
const add = (cells: readonly string[]): void => {
  text += `${row(cells)}\n`;
  console.log(row(cells));
};
add(['', ...points.map((step) => `to step ${step}`), 'validation', 'against the first row', 'overflows']);
add(['---', ...points.map(() => '---'), '---', '---', '---']);
let reference: number | undefined;
for (const each of cases) {
  if (wanted !== undefined && !wanted.includes(each.name)) continue;
  const curve = await train(each);
  reference ??= curve.validation;
  add([
    curve.name,
    ...points.map((step) => around(curve, step).toFixed(4)),
    curve.validation.toFixed(4),
    `${((curve.validation / reference - 1) * 100).toFixed(2)} %`,
    curve.name.startsWith('fp16') ? String(curve.overflows) : '',
  ]);
}
if (values.write !== undefined) appendFileSync(values.write, `${text}\n`);
