import { formatBytes, formatCount } from '../../core/units.ts';
import { bar, sparkline } from '../../telemetry/charts.ts';
import { tierNames } from '../../telemetry/memorySummary.ts';
import { plot } from '../../telemetry/plot.ts';
import {
  type CheckpointDetails,
  type EvaluationDetails,
  type EventDetails,
  type MemoryDetails,
  type MovementDetails,
  type Point,
  type RunDetails,
  totalOf,
} from '../../telemetry/runStore/index.ts';
import type { Piece, Style } from '../../telemetry/terminal.ts';
import { lossText, normText, rateText } from '../../telemetry/words.ts';
import { linesText, type Screen } from './screen.ts';
import {
  causeText,
  dateText,
  durationText,
  outcomeOf,
  outcomePiece,
  stepsText,
  timeText,
  workSeconds,
} from './words.ts';

/** All that one answer is made of. */
export interface Shown {
  readonly run: RunDetails;
  readonly points: readonly Point[];
  readonly evaluations: readonly EvaluationDetails[];
  readonly checkpoints: readonly CheckpointDetails[];
  readonly events: readonly EventDetails[];
  readonly memory: readonly MemoryDetails[];
  readonly movement: MovementDetails | null;
  readonly allEvents: boolean;
}

const usualEvents = 8;
const usualSessions = 4;

export function showText(shown: Shown, screen: Screen): string {
  const sections = [
    heading(shown),
    lossPlot(shown.points, screen),
    curves(shown, screen),
    memoryLines(shown.memory, screen),
    timeLines(shown.movement, screen),
    eventLines(shown),
  ];
  return sections
    .filter((lines) => lines.length > 0)
    .map((lines) => linesText(lines, screen))
    .join('\n');
}

const labelWidth = 12;
const label = (name: string): Piece => ['dim', name.padEnd(labelWidth)];

function heading({ run, checkpoints }: Shown): Piece[][] {
  const last = run.sessions.at(-1)!;
  const { machine, git } = last;
  const lines: Piece[][] = [
    [
      ['bold', run.id],
      '  ',
      outcomePiece(outcomeOf(run)),
      `  step ${stepsText(run)} in ${durationText(workSeconds(run))}`,
    ],
  ];
  if (last.reason !== null) lines.push([label('reason'), ['red', last.reason]]);
  if (run.parent !== null) lines.push([label('from'), `${run.parent}, step ${run.parentStep}`]);
  const sessions = run.sessions.slice(-usualSessions);
  if (run.sessions.length > sessions.length) {
    lines.push([label('sessions'), `${run.sessions.length}; the last ${sessions.length}:`]);
  }
  for (const session of sessions) {
    const end = session.endedMs === null ? `last seen ${dateText(session.seenMs)}` : dateText(session.endedMs);
    const until = session.outcome === 'running' ? 'running' : `${session.outcome} at step ${session.lastStep}, ${end}`;
    lines.push([
      label(dateText(session.startedMs).slice(0, 10)),
      `${timeText(session.startedMs)} ${causeText(session)}; ${until}`,
    ]);
  }
  const saved = checkpoints.at(-1);
  if (saved !== undefined) {
    const count = checkpoints.length === 1 ? '' : ` (${checkpoints.length} saved)`;
    lines.push([label('checkpoint'), `${saved.path}${count}`]);
    const cost = saveCost(checkpoints);
    if (cost !== null) lines.push([label(''), cost]);
  }
  lines.push([label('machine'), machineText(machine, last.host)]);
  lines.push([label('versions'), versionsText(machine)]);
  if (git !== null) {
    const dirty = git.dirty === true ? ' with changes' : git.dirty === null ? ', changes unknown' : '';
    lines.push([label('git'), `${git.revision.slice(0, 12)}${dirty}`]);
  }
  return lines;
}

/** What a save was and cost: means, since the first of a run is often slower. Null where the record does not know. */
function saveCost(checkpoints: readonly CheckpointDetails[]): string | null {
  const mean = (pick: (one: CheckpointDetails) => number | null): number | null => {
    const known = checkpoints.map(pick).filter((value) => value !== null);
    return known.length === 0 ? null : known.reduce((sum, value) => sum + value, 0) / known.length;
  };
  const [bytes, seconds] = [mean((one) => one.bytes), mean((one) => one.seconds)];
  const blocked = mean((one) => one.blockedSeconds);
  if (bytes === null || seconds === null) return null;
  const held = blocked === null ? '' : `, of which training stood still for ${shortSeconds(blocked)}`;
  return `${formatBytes(bytes)} in ${shortSeconds(seconds)}${held}${checkpoints.length === 1 ? '' : ' (means)'}`;
}

function machineText(machine: Readonly<Record<string, unknown>>, host: string): string {
  const { cpu, cores, memoryBytes, gpus, device, precision } = machine as {
    readonly [key: string]: unknown;
    readonly gpus?: readonly { readonly name: string }[];
  };
  const cards = (gpus ?? []).map(({ name }) => name).join(', ');
  const memory = typeof memoryBytes === 'number' ? `, ${formatBytes(memoryBytes)}` : '';
  return `${host}: ${cpu}${cores === undefined ? '' : `, ${cores} cores`}${memory}${cards === '' ? '' : `; ${cards}`}; ${precision} on ${device}`;
}

function versionsText({ versions }: Readonly<Record<string, unknown>>): string {
  if (typeof versions !== 'object' || versions === null) return '-';
  return Object.entries(versions)
    .filter(([, version]) => typeof version === 'string')
    .map(([name, version]) => `${name} ${String(version).replace(/^v/, '')}`)
    .join(', ');
}

function lossPlot(points: readonly Point[], screen: Screen): Piece[][] {
  const curve = points.map(({ firstStep, lossMean }) => ({ x: firstStep, y: lossMean ?? Number.NaN }));
  const lines = plot([{ points: curve, mark: '*', style: 'yellow' }], {
    width: Math.min(screen.columns - 1, 100),
    height: 8,
    label: (y) => y.toPrecision(3),
  });
  return lines === null ? [] : [[['bold', 'loss']], ...lines];
}

function curves({ points, evaluations }: Shown, screen: Screen): Piece[][] {
  const total = totalOf(points);
  if (total === null) return [[['dim', 'no step is recorded yet']]];
  const width = Math.max(8, Math.min(32, screen.columns - labelWidth - 34));
  const line = (name: string, style: Style, values: readonly (number | null)[], text: string): Piece[] => {
    const cells = resample(values, width);
    return [label(name), [style, sparkline(cells)], ' '.repeat(width - cells.length + 2), text];
  };
  const speed = total.seconds > 0 ? total.tokens / total.seconds : 0;
  const loss = `${lossText(points[0]!.lossMean ?? Number.NaN)} → ${lossText(total.lossLast ?? Number.NaN)}, least ${lossText(total.lossMin ?? Number.NaN)}`;
  const lines = [
    line(
      'loss',
      'yellow',
      points.map(({ lossMean }) => lossMean),
      loss,
    ),
  ];
  if (evaluations.length > 0) {
    const last = evaluations.at(-1)!;
    const best = evaluations.reduce((a, b) => ((b.loss ?? Infinity) < (a.loss ?? Infinity) ? b : a));
    const text = `${lossText(last.loss ?? Number.NaN)} at step ${last.step}${best.step === last.step ? '' : `, best ${lossText(best.loss ?? Number.NaN)} at ${best.step}`}`;
    lines.push(
      line(
        'evaluation',
        'yellow',
        evaluations.map((each) => each.loss),
        text,
      ),
    );
  }
  lines.push(
    line(
      'rate',
      'green',
      points.map(({ rateLast }) => rateLast),
      `now ${rateText(total.rateLast ?? 0)}`,
    ),
  );
  const clipped = Math.round((100 * total.clipped) / total.steps);
  const norm = `mean ${normText(total.normMean ?? Number.NaN)}, most ${normText(total.normMax ?? Number.NaN)}${clipped > 0 ? `, ${clipped}% clipped` : ''}`;
  lines.push(
    line(
      'norm',
      'magenta',
      points.map(({ normMean }) => normMean),
      norm,
    ),
  );
  const speeds = points.map(({ tokens, seconds }) => (seconds > 0 ? tokens / seconds : null));
  const tokens = `${formatCount(Math.round(speed))} mean, ${formatCount(total.tokens)} in all`;
  lines.push(line('tokens/s', 'cyan', speeds, tokens));
  if (total.notFinite > 0) {
    lines.push([
      label('not finite'),
      ['red', `${total.notFinite} of ${total.steps} steps had an infinite or NaN loss or norm`],
    ]);
  }
  return lines;
}

/** As many values as cells: means of neighbours. What is no number is left out. */
function resample(values: readonly (number | null)[], count: number): number[] {
  const known = values.filter((value) => value !== null);
  if (known.length <= count) return known;
  return Array.from({ length: count }, (_, cell) => {
    const part = known.slice(
      Math.floor((cell * known.length) / count),
      Math.floor(((cell + 1) * known.length) / count),
    );
    return part.reduce((sum, value) => sum + value, 0) / part.length;
  });
}

function memoryLines(memory: readonly MemoryDetails[], screen: Screen): Piece[][] {
  if (memory.length === 0) return [];
  const width = Math.max(4, Math.min(24, screen.columns - labelWidth - 40));
  return [
    [['bold', 'memory']],
    ...memory.map(({ tier, label: shownAs, usedBytes, mostBytes, budgetBytes }): Piece[] => {
      const { filled, rest } = bar(mostBytes / budgetBytes, width);
      const budget = budgetBytes >= Number.MAX_SAFE_INTEGER ? '' : ` of ${formatBytes(budgetBytes)}`;
      const now = usedBytes === mostBytes ? '' : `, last ${formatBytes(usedBytes)}`;
      return [
        label(shownAs ?? tierNames[tier]),
        ['blue', filled],
        ['dim', rest],
        `  most ${formatBytes(mostBytes)}${budget}${now}`,
      ];
    }),
  ];
}

function timeLines(movement: MovementDetails | null, screen: Screen): Piece[][] {
  if (movement === null) return [];
  const { stepSeconds, computeSeconds, stalls, steps } = movement;
  const waited = stalls.reduce((sum, { seconds }) => sum + seconds, 0);
  const rows: [string, number, Style][] = [
    ['computing', computeSeconds, 'green'],
    ...stalls
      .filter(({ seconds }) => seconds >= 0.005 * stepSeconds)
      .map(({ cause, seconds }): [string, number, Style] => [`waiting: ${cause}`, seconds, 'red']),
    ['between units', Math.max(0, stepSeconds - computeSeconds - waited), 'dim'],
  ];
  const names = Math.max(...rows.map(([name]) => name.length));
  const width = Math.max(4, Math.min(24, screen.columns - names - 22));
  return [
    [['bold', 'time of a step'], `  ${shortSeconds(stepSeconds)}, mean of ${steps}`],
    ...rows.map(([name, seconds, style]): Piece[] => {
      const { filled, rest } = bar(seconds / stepSeconds, width);
      const percent = `${String(Math.round((100 * seconds) / stepSeconds)).padStart(3)}%`;
      return [
        ['dim', name.padEnd(names + 2)],
        [style, filled],
        ['dim', rest],
        `  ${percent}  ${shortSeconds(seconds)}`,
      ];
    }),
  ];
}

const shortSeconds = (seconds: number): string =>
  seconds < 1 ? `${(seconds * 1e3).toFixed(seconds < 0.1 ? 1 : 0)} ms` : durationText(seconds);

function eventLines({ events, allEvents }: Shown): Piece[][] {
  if (events.length === 0) return [];
  const lines = allEvents ? events : events.slice(-usualEvents);
  const left = events.length - lines.length;
  const style = (kind: string): Style => (kind === 'note' || kind === 'resume' ? 'dim' : 'yellow');
  const [kinds, steps] = [
    Math.max(...lines.map(({ kind }) => kind.length)),
    Math.max(...lines.map(({ step }) => String(step).length)),
  ];
  return [
    [['bold', 'events'], ...(left > 0 ? [['dim', `  ${left} earlier ones with --events`] as Piece] : [])],
    ...lines.map(({ atMs, step, kind, text, details }): Piece[] => {
      const omitted =
        typeof details?.omittedBefore === 'number' ? ` (and ${details.omittedBefore} like it before)` : '';
      const first = text.split('\n')[0]!;
      return [
        ['dim', `${dateText(atMs)}  step ${String(step).padStart(steps)}  `],
        [style(kind), kind.padEnd(kinds)],
        `  ${first}${omitted}`,
      ];
    }),
  ];
}
