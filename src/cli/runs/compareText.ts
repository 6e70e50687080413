import { isByteField } from '../../config/index.ts';
import { formatBytes, formatCount } from '../../core/units.ts';
import { plot } from '../../telemetry/plot.ts';
import { type EvaluationDetails, type Point, type RunDetails, totalOf } from '../../telemetry/runStore/index.ts';
import type { Piece } from '../../telemetry/terminal.ts';
import { lossText } from '../../telemetry/words.ts';
import { type Column, linesText, type Screen, table } from './screen.ts';
import { durationText, outcomeOf, outcomePiece, stepsText, workSeconds } from './words.ts';

export interface Compared {
  readonly run: RunDetails;
  readonly points: readonly Point[];
  readonly evaluations: readonly EvaluationDetails[];
}

const marks = ['a', 'b'] as const;
const styles = ['yellow', 'cyan'] as const;

export function compareText(pair: readonly [Compared, Compared], screen: Screen): string {
  const sections = [overview(pair, screen), lossPlot(pair, screen), atSameSteps(pair, screen), settings(pair, screen)];
  return sections
    .filter((lines) => lines.length > 0)
    .map((lines) => linesText(lines, screen))
    .join('\n');
}

const overviewColumns: readonly Column[] = [
  { title: '' },
  { title: 'run' },
  { title: 'steps', right: true, weight: 3 },
  { title: 'loss', right: true },
  { title: 'evaluation', right: true, weight: 4 },
  { title: 'tokens/s', right: true, weight: 2 },
  { title: 'took', right: true, weight: 1 },
  { title: 'outcome' },
];

function overview(pair: readonly Compared[], screen: Screen): Piece[][] {
  const rows = pair.map(({ run, points, evaluations }, i): Piece[] => {
    const total = totalOf(points);
    const last = evaluations.at(-1);
    return [
      [styles[i]!, marks[i]!],
      ['bold', run.id],
      stepsText(run),
      numberText(total?.lossLast),
      numberText(last?.loss),
      total === null || total.seconds === 0 ? '-' : formatCount(Math.round(total.tokens / total.seconds)),
      durationText(workSeconds(run)),
      outcomePiece(outcomeOf(run)),
    ];
  });
  return table(overviewColumns, rows, screen);
}

const numberText = (value: number | null | undefined): string =>
  value === null || value === undefined ? '-' : lossText(value);

function lossPlot(pair: readonly Compared[], screen: Screen): Piece[][] {
  const series = pair.map(({ points }, i) => ({
    points: points.map(({ firstStep, lossMean }) => ({ x: firstStep, y: lossMean ?? Number.NaN })),
    mark: marks[i]!,
    style: styles[i]!,
  }));
  const options = { width: Math.min(screen.columns - 1, 100), height: 14, label: (y: number) => y.toPrecision(3) };
  const lines = plot(series, options);
  if (lines === null) return [];
  const key: Piece[] = [['bold', 'loss'], '  ', [styles[0], 'a'], '  ', [styles[1], 'b'], ['dim', '  * both']];
  return [key, ...lines];
}

const sampled = 6;

/** Means of neighbouring steps, at a few places along the way that both went. */
function atSameSteps([a, b]: readonly [Compared, Compared], screen: Screen): Piece[][] {
  const last = (points: readonly Point[]): number => (points.at(-1)?.firstStep ?? 0) + (points.at(-1)?.steps ?? 0) - 1;
  const end = Math.min(last(a.points), last(b.points));
  if (end < 1) return [];
  const steps = [
    ...new Set(Array.from({ length: sampled }, (_, i) => Math.max(1, Math.round((end * (i + 1)) / sampled)))),
  ];
  const at = (points: readonly Point[], step: number): number | null =>
    points.findLast(({ firstStep }) => firstStep <= step)?.lossMean ?? null;
  const rows = steps.map((step): Piece[] => {
    const [left, right] = [at(a.points, step), at(b.points, step)];
    const difference =
      left === null || right === null ? '-' : `${right >= left ? '+' : ''}${(right - left).toFixed(4)}`;
    return [String(step), numberText(left), numberText(right), difference];
  });
  const columns = ['around step', 'loss a', 'loss b', 'b - a'].map((title) => ({ title, right: true }));
  return table(columns, rows, screen);
}

function settings([a, b]: readonly [Compared, Compared], screen: Screen): Piece[][] {
  const [left, right] = [a, b].map(({ run }) => flat(run)) as [Map<string, string>, Map<string, string>];
  const keys = [...new Set([...left.keys(), ...right.keys()])].filter((key) => left.get(key) !== right.get(key));
  if (keys.length === 0) return [[['dim', 'the two have the same configuration, revision and machine']]];
  const rows = keys.map((key): Piece[] => [key, left.get(key) ?? '-', right.get(key) ?? '-']);
  return table([{ title: 'what differs' }, { title: 'a' }, { title: 'b' }], rows, screen);
}

function valueText(path: string, value: unknown): string {
  if (typeof value === 'number' && isByteField(path)) return formatBytes(value);
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** Settings, code and machine of the last session, as dotted names. */
function flat({ sessions }: RunDetails): Map<string, string> {
  const { config, git, machine, host } = sessions.at(-1)!;
  const values = new Map<string, string>();
  const visit = (value: unknown, path: string): void => {
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      for (const [key, inner] of Object.entries(value)) visit(inner, path === '' ? key : `${path}.${key}`);
    } else values.set(path, valueText(path, value));
  };
  visit(config, '');
  values.set('git', git === null ? '-' : git.revision.slice(0, 12) + (git.dirty === true ? ' with changes' : ''));
  visit({ host, ...machine }, 'machine');
  return values;
}
