/** A run as rows and as JSON, piece by piece: a day of steps need not fit in memory. */
import { type ColumnName, columnNames } from '../../telemetry/runStore/columns.ts';
import {
  checkpointsOf,
  type Database,
  evaluationsOf,
  eventsOf,
  memoryOf,
  movementOf,
  piecesOf,
  type RunDetails,
} from '../../telemetry/runStore/index.ts';

const titles: Readonly<Record<ColumnName, string>> = {
  loss: 'loss',
  gradientNorm: 'gradient_norm',
  clipFactor: 'clip_factor',
  learningRate: 'learning_rate',
  lossScale: 'loss_scale',
  tokens: 'tokens',
  seconds: 'seconds',
};

/** One line a step. What is not there is empty; `nan`, `inf` and `-inf` are what they say. */
export function* csvOf(database: Database, run: RunDetails): Generator<string> {
  yield `step,${columnNames.map((name) => titles[name]).join(',')},session\n`;
  const ordinals = sessionOrdinals(run);
  for (const piece of piecesOf(database, run.number)) {
    const columns = piece.columns();
    let text = '';
    for (let i = 0; i < piece.steps; i++) {
      const cells = columnNames.map((name) => csvNumber(columns[name][i]!, name));
      text += `${piece.firstStep + i},${cells.join(',')},${ordinals.get(piece.session)}\n`;
    }
    yield text;
  }
}

/** One JSON object: the run, its sessions, everything recorded, and `steps` as objects. NaN and infinities are strings. */
export function* jsonOf(database: Database, run: RunDetails): Generator<string> {
  const ordinals = sessionOrdinals(run);
  const sessions = run.sessions.map(({ number, ...session }) => ({
    session: ordinals.get(number),
    ...session,
    memory: memoryOf(database, number),
  }));
  const { number, ...about } = run;
  const head = {
    format: 'tierra-run',
    version: 1,
    ...about,
    sessions,
    evaluations: evaluationsOf(database, run),
    checkpoints: checkpointsOf(database, number),
    events: eventsOf(database, number),
    movement: movementOf(database, number),
  };
  yield `${JSON.stringify(head, null, 1).slice(0, -2)},\n "steps": [`;
  let separator = '\n';
  for (const piece of piecesOf(database, number)) {
    const columns = piece.columns();
    let text = '';
    for (let i = 0; i < piece.steps; i++) {
      const values = columnNames.map((name) => `"${name}":${jsonNumber(columns[name][i]!, name)}`);
      text += `${separator}  {"step":${piece.firstStep + i},${values.join(',')},"session":${ordinals.get(piece.session)}}`;
      separator = ',\n';
    }
    yield text;
  }
  yield '\n ]\n}\n';
}

/** Sessions counted from 1 within the run. */
const sessionOrdinals = ({ sessions }: RunDetails): Map<number, number> =>
  new Map(sessions.map(({ number }, index) => [number, index + 1]));

const isMissing = (value: number, name: ColumnName): boolean => name === 'lossScale' && Number.isNaN(value);

function csvNumber(value: number, name: ColumnName): string {
  if (isMissing(value, name)) return '';
  if (Number.isNaN(value)) return 'nan';
  return Number.isFinite(value) ? shortest(value) : value > 0 ? 'inf' : '-inf';
}

function jsonNumber(value: number, name: ColumnName): string {
  if (isMissing(value, name)) return 'null';
  return Number.isFinite(value) ? shortest(value) : `"${value}"`;
}

/** The fewest digits that name this 32-bit float. */
export function shortest(value: number): string {
  if (Number.isInteger(value)) return String(value);
  for (let digits = 6; digits < 9; digits++) {
    const rounded = Number(value.toPrecision(digits));
    if (Math.fround(rounded) === value) return String(rounded);
  }
  return String(Number(value.toPrecision(9)));
}
