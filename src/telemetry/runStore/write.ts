/** Rows into the store. Every function is called within a transaction. */
import type { Statement } from 'better-sqlite3';
import type { MovementFigures } from '../memorySummary.ts';
import { encodeBlock } from './blockCodec.ts';
import type { Database } from './driver.ts';
import { type StepBuffer, summarize } from './stepBuffer.ts';

type Value = string | number | null | Uint8Array;
export type Row = Readonly<Record<string, Value>>;

export interface SessionStart {
  readonly cause: 'start' | 'resume' | 'rewind';
  readonly fromStep: number;
  readonly totalSteps: number | null;
  readonly startedMs: number;
  readonly host: string;
  readonly pid: number;
  readonly config: string;
  readonly git: string | null;
  readonly machine: string;
}

/** Returns the row's number. */
export function insertRow(database: Database, table: string, row: Row): number {
  const names = Object.keys(row);
  const sql = `INSERT INTO ${table} (${names.join(', ')}) VALUES (${names.map(() => '?').join(', ')})`;
  return Number(prepared(database, sql).run(...Object.values(row)).lastInsertRowid);
}

export function insertSession(database: Database, run: number, start: SessionStart): number {
  const { cause, fromStep, totalSteps, startedMs, ...same } = start;
  const steps = { from_step: fromStep, last_step: fromStep, total_steps: totalSteps };
  return insertRow(database, 'sessions', { run, cause, ...steps, started_ms: startedMs, seen_ms: startedMs, ...same });
}

export function touchSession(database: Database, session: number, lastStep: number, nowMs: number): void {
  prepared(database, 'UPDATE sessions SET last_step = ?, seen_ms = ? WHERE number = ?').run(lastStep, nowMs, session);
}

export function endSession(
  database: Database,
  session: number,
  { outcome, reason, nowMs }: { readonly outcome: string; readonly reason: string | null; readonly nowMs: number },
): void {
  const sql = 'UPDATE sessions SET outcome = ?, reason = ?, ended_ms = ?, seen_ms = ? WHERE number = ?';
  prepared(database, sql).run(outcome, reason, nowMs, nowMs, session);
}

/** The steps of `buffer` from index `from` on, as they are. */
export function insertTail(database: Database, session: number, buffer: StepBuffer, from: number): void {
  const { startedMs, endedMs } = buffer.span(from);
  const columns = buffer.columns(from);
  insertRow(database, 'tails', {
    session,
    first_step: buffer.firstStep + from,
    steps: columns.loss.length,
    started_ms: startedMs,
    ended_ms: endedMs,
    data: encodeBlock(columns),
  });
}

/** All steps of `buffer` in one row, in place of the tails that held them. */
export function insertBlock(database: Database, session: number, buffer: StepBuffer): void {
  const columns = buffer.columns();
  const { startedMs, endedMs } = buffer.span();
  const summary = summarize(columns);
  const clear = 'DELETE FROM tails WHERE session = ? AND first_step >= ? AND first_step < ?';
  prepared(database, clear).run(session, buffer.firstStep, buffer.nextStep);
  insertRow(database, 'blocks', {
    session,
    first_step: buffer.firstStep,
    steps: buffer.count,
    started_ms: startedMs,
    ended_ms: endedMs,
    loss_min: summary.lossMin,
    loss_mean: summary.lossMean,
    loss_max: summary.lossMax,
    loss_last: summary.lossLast,
    norm_mean: summary.normMean,
    norm_max: summary.normMax,
    rate_last: summary.rateLast,
    clipped: summary.clipped,
    not_finite: summary.notFinite,
    tokens: summary.tokens,
    seconds: summary.seconds,
    data: encodeBlock(columns),
  });
}

/** In place of what was said before about this session. */
export function replaceMovement(database: Database, session: number, report: MovementFigures): void {
  const { steps, stepSeconds, computeSeconds, lanes, waits, plan } = report;
  for (const table of ['movements', 'stalls']) {
    prepared(database, `DELETE FROM ${table} WHERE session = ?`).run(session);
  }
  insertRow(database, 'movements', {
    session,
    steps,
    step_seconds: stepSeconds,
    compute_seconds: computeSeconds,
    lanes: JSON.stringify(lanes),
    plan: JSON.stringify(plan),
  });
  for (const { cause, seconds } of waits) insertRow(database, 'stalls', { session, cause, seconds });
}

const statements = new WeakMap<Database, Map<string, Statement<Value[]>>>();

/** Compiled once per connection. */
function prepared(database: Database, sql: string): Statement<Value[]> {
  let known = statements.get(database);
  if (known === undefined) {
    known = new Map();
    statements.set(database, known);
  }
  let statement = known.get(sql);
  if (statement === undefined) {
    statement = database.prepare<Value[]>(sql);
    known.set(sql, statement);
  }
  return statement;
}
