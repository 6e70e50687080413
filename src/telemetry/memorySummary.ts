/** What a run's memory plan says, and what a run moved and waited for, in words and tables. */
import { formatBytes, formatSeconds } from '../core/units.ts';
import type { TierName } from './progress.ts';

type PerTier = Readonly<Record<TierName, number>>;

type Lane = 'read' | 'write' | 'toDevice' | 'toHost' | 'update';
type Lanes = Readonly<Record<Lane, { readonly bytes: number; readonly busySeconds: number }>>;

/** Where one training step keeps what, and what it is expected to take. */
export interface PlanFigures {
  readonly parameters: PerTier;
  readonly states: PerTier;
  readonly gradients: PerTier;
  readonly stepSeconds: number;
  readonly computeSeconds: number;
  readonly lanes: Lanes;
  readonly limit: 'compute' | 'disk' | 'link' | 'optimizer';
}

/** Means per step. */
export interface MovementFigures {
  readonly plan: PlanFigures;
  readonly steps: number;
  readonly stepSeconds: number;
  readonly computeSeconds: number;
  readonly lanes: Lanes;
  /** Longest first. */
  readonly waits: readonly { readonly cause: string; readonly seconds: number }[];
  /** Steps whose updates guessed rightly that nothing is clipped, guessed wrongly, or waited for the norm. */
  readonly guesses?: { readonly right: number; readonly redone: number; readonly waited: number };
}

/** Tiers as people name them. */
export const tierNames = { gpu: 'gpu', host: 'cpu', nvme: 'disk' } as const satisfies Record<TierName, string>;
const tierOrder = ['gpu', 'host', 'nvme'] as const;

const limits: Readonly<Record<PlanFigures['limit'], string>> = {
  compute: 'limited by compute',
  disk: 'limited by disk',
  link: 'limited by copies between cpu and gpu',
  optimizer: 'limited by the optimizer',
};

/** One line: `plan: parameters 38% gpu, 62% cpu; states 40% cpu, 60% disk; forecast 1.20 s a step, limited by disk`. */
export function planText({ parameters, states, stepSeconds, limit }: PlanFigures): string {
  const places = [`parameters ${shares(parameters)}`];
  if (total(states) > 0) places.push(`states ${shares(states)}`);
  return `plan: ${places.join('; ')}; forecast ${durationText(stepSeconds)} a step, ${limits[limit]}`;
}

const total = (bytes: PerTier): number => bytes.gpu + bytes.host + bytes.nvme;

/** Percent per tier in use. A share is never rounded to nothing or to everything. */
function shares(bytes: PerTier): string {
  const all = total(bytes);
  return tierOrder
    .filter((tier) => bytes[tier] > 0)
    .map((tier) => {
      const percent = Math.round((100 * bytes[tier]) / all);
      return `${bytes[tier] === all ? 100 : Math.min(99, Math.max(1, percent))}% ${tierNames[tier]}`;
    })
    .join(', ');
}

/** `1.20 s`, `26.1 ms`. */
const durationText = (seconds: number): string =>
  seconds < 1 ? `${(seconds * 1e3).toFixed(seconds < 0.1 ? 1 : 0)} ms` : formatSeconds(seconds);

/** Waits below this share of a step are told in one line. */
const leastShare = 0.005;

/** A table for the end of a run: what lives where, what moved in a step and how fast, where the step's time went, and what the plan had reckoned with. */
export function movementText(report: MovementFigures): string {
  const { plan, steps, stepSeconds, computeSeconds, lanes, waits } = report;
  const kinds = (['parameters', 'gradients', 'states'] as const).filter((kind) => total(plan[kind]) > 0);
  const lives = kinds.map((kind) => [
    `  ${kind}`,
    ...tierOrder.map((tier) => (plan[kind][tier] === 0 ? '-' : formatBytes(plan[kind][tier]))),
  ]);
  const rows: [string, Lane][] = [
    ['  cpu to gpu', 'toDevice'],
    ['  gpu to cpu', 'toHost'],
    ['  disk to cpu', 'read'],
    ['  cpu to disk', 'write'],
    ['  optimizer on cpu', 'update'],
  ];
  const moved = rows
    .filter(([, lane]) => lanes[lane].bytes > 0)
    .map(([name, lane]) => [
      name,
      formatBytes(lanes[lane].bytes),
      ...shareOf(lanes[lane].busySeconds, stepSeconds),
      rateText(lanes[lane]),
      rateText(plan.lanes[lane]),
    ]);
  const shown = waits.filter(({ seconds }) => seconds >= leastShare * stepSeconds);
  const waited = waits.reduce((sum, { seconds }) => sum + seconds, 0);
  const small = waited - shown.reduce((sum, { seconds }) => sum + seconds, 0);
  const rest = Math.max(0, stepSeconds - computeSeconds - waited);
  const time: [string, number][] = [
    ...shown.map(({ cause, seconds }): [string, number] => [`  waiting: ${cause}`, seconds]),
    ...(small > 0 && shown.length > 0 ? [['  waiting: others', small] as [string, number]] : []),
    ['  between units', rest],
  ];
  return [
    aligned([['at rest', ...tierOrder.map((tier) => tierNames[tier])], ...lives]),
    aligned([['moved in a step', 'bytes', 'busy', '', 'rate', 'planned'], ...moved]),
    aligned([
      [
        `time of a step, mean of ${steps}`,
        ...shareOf(stepSeconds, stepSeconds),
        `planned ${durationText(plan.stepSeconds)}`,
      ],
      ['  computing', ...shareOf(computeSeconds, stepSeconds), `planned ${durationText(plan.computeSeconds)}`],
      ...time.map(([name, seconds]) => [name, ...shareOf(seconds, stepSeconds)]),
    ]),
    ...(report.guesses === undefined ? [] : [guessText(report.guesses)]),
  ].join('\n');
}

const guessText = ({ right, redone, waited }: NonNullable<MovementFigures['guesses']>): string =>
  `updates before the norm: kept in ${right} steps, made again in ${redone}, held back in ${waited}`;

const shareOf = (seconds: number, whole: number): [string, string] => [
  durationText(seconds),
  `${Math.round((100 * seconds) / whole)}%`,
];

/** `1.21 GB/s`, `86.5 MB/s`: bytes per second in which the lane was busy. */
function rateText({ bytes, busySeconds }: Lanes[Lane]): string {
  if (busySeconds === 0) return '-';
  const rate = bytes / busySeconds;
  const [unit, name] = rate < 1e9 ? [1e6, 'MB/s'] : [1e9, 'GB/s'];
  return `${Number((rate / unit).toPrecision(3))} ${name}`;
}

/** First column to the left, numbers to the right, two spaces between. */
function aligned(rows: readonly (readonly string[])[]): string {
  const columns = Math.max(...rows.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  // The first column is as wide in every table of a report.
  widths[0] = Math.max(widths[0]!, 30);
  return rows
    .map((row) => row.map((cell, i) => (i === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[i]!))).join('  '))
    .map((line) => line.trimEnd())
    .join('\n');
}
