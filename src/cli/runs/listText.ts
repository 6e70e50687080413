import { type Database, lastLossOf, type RunDetails } from '../../telemetry/runStore/index.ts';
import type { Piece } from '../../telemetry/terminal.ts';
import { lossText } from '../../telemetry/words.ts';
import { type Column, linesText, type Screen, table } from './screen.ts';
import { dateText, durationText, outcomeOf, outcomePiece, stepsText, workSeconds } from './words.ts';

const columns: readonly Column[] = [
  { title: 'run' },
  { title: 'started', weight: 2 },
  { title: 'took', right: true, weight: 1 },
  { title: 'steps', right: true, weight: 3 },
  { title: 'loss', right: true },
  { title: 'outcome' },
];

/** The newest run first. */
export function listText(database: Database, runs: readonly RunDetails[], screen: Screen): string {
  if (runs.length === 0) return 'no run is recorded here yet\n';
  const rows = runs
    .toReversed()
    .map((run): Piece[] => [
      ['bold', run.id],
      dateText(run.createdMs),
      durationText(workSeconds(run)),
      stepsText(run),
      lossText(lastLossOf(database, run.number) ?? Number.NaN).replace('NaN', '-'),
      outcomePiece(outcomeOf(run)),
    ]);
  return linesText(table(columns, rows, screen), screen);
}
