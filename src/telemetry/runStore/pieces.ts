/** The steps of a run as they stand: what a later session made again is left out. */
import { decodeBlock } from './blockCodec.ts';
import { type Columns, sliceColumns } from './columns.ts';
import type { Database } from './driver.ts';
import { type BlockSummary, summarize } from './stepBuffer.ts';

/** Consecutive steps of one session, from one row of the store. */
export interface Piece {
  readonly session: number;
  readonly firstStep: number;
  readonly steps: number;
  /** Known without decoding, where a whole block counts. */
  readonly summary: BlockSummary | null;
  /** Reads and decodes. */
  columns(): Columns;
}

interface PieceRow extends Record<keyof BlockSummary, number | null> {
  readonly rowid: number;
  readonly firstStep: number;
  readonly steps: number;
}

interface SessionRow {
  readonly number: number;
  readonly fromStep: number;
}

/** In order of their steps. */
export function piecesOf(database: Database, run: number): Piece[] {
  const sessions = database
    .prepare<[number], SessionRow>(
      'SELECT number, from_step AS fromStep FROM sessions WHERE run = ? ORDER BY number DESC',
    )
    .all(run);
  const pieces: Piece[] = [];
  let lastStep = Number.MAX_SAFE_INTEGER;
  for (const { number, fromStep } of sessions) {
    pieces.push(...blocksOf(database, number, lastStep), ...tailsOf(database, number, lastStep));
    lastStep = Math.min(lastStep, fromStep);
  }
  return pieces.sort((a, b) => a.firstStep - b.firstStep);
}

function blocksOf(database: Database, session: number, lastStep: number): Piece[] {
  const rows = database
    .prepare<[number, number], PieceRow>(
      `SELECT rowid, first_step AS firstStep, steps, loss_min AS lossMin, loss_mean AS lossMean, loss_max AS lossMax,
         loss_last AS lossLast, norm_mean AS normMean, norm_max AS normMax, rate_last AS rateLast, clipped,
         not_finite AS notFinite, tokens, seconds
       FROM blocks WHERE session = ? AND first_step <= ?`,
    )
    .all(session, lastStep);
  const data = database.prepare<[number], { data: Uint8Array }>('SELECT data FROM blocks WHERE rowid = ?');
  return rows.map(({ rowid, firstStep, steps, ...summary }) =>
    pieceOf(session, firstStep, steps, lastStep, summary as BlockSummary, () => data.get(rowid)!.data),
  );
}

function tailsOf(database: Database, session: number, lastStep: number): Piece[] {
  return database
    .prepare<[number, number], { firstStep: number; steps: number; data: Uint8Array }>(
      'SELECT first_step AS firstStep, steps, data FROM tails WHERE session = ? AND first_step <= ?',
    )
    .all(session, lastStep)
    .map(({ firstStep, steps, data }) => pieceOf(session, firstStep, steps, lastStep, null, () => data));
}

function pieceOf(
  session: number,
  firstStep: number,
  stored: number,
  lastStep: number,
  summary: BlockSummary | null,
  read: () => Uint8Array,
): Piece {
  const steps = Math.min(stored, lastStep - firstStep + 1);
  const columns = (): Columns => sliceColumns(decodeBlock(read(), stored), 0, steps);
  return { session, firstStep, steps, summary: steps === stored ? summary : null, columns };
}

export const summaryOf = (piece: Piece): BlockSummary => piece.summary ?? summarize(piece.columns());

/** Of the newest step as it stands; null where there is none, NaN where it was none. */
export function lastLossOf(database: Database, run: number): number | null {
  return piecesOf(database, run).at(-1)?.columns().loss.at(-1) ?? null;
}
