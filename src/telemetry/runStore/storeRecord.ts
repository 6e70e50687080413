import type { MovementFigures } from '../memorySummary.ts';
import type { EvaluationReport, RecordedAs, RunStart, SavedReport, TierUse } from '../progress.ts';
import type { RunOutcome, RunRecord, StepRow } from '../record/record.ts';
import type { Database } from './driver.ts';
import { EventLimit } from './eventLimit.ts';
import { newRunId, outputKey, type RunRow, runHolding, runOf } from './identity.ts';
import { openStore, storeError } from './openStore.ts';
import { StepBuffer } from './stepBuffer.ts';
import {
  endSession,
  insertBlock,
  insertRow,
  insertSession,
  insertTail,
  type Row,
  replaceMovement,
  type SessionStart,
  touchSession,
} from './write.ts';

export interface StoreRecordOptions {
  /** The store's file. */
  readonly file: string;
  readonly name: string;
  /** Folder of the run's checkpoints. */
  readonly output: string;
  /** Must survive JSON. */
  readonly config: unknown;
  readonly git: unknown;
  readonly machine: unknown;
  readonly host: string;
  /** Milliseconds since 1970; `Date.now` when not given. */
  readonly now?: () => number;
  /** Told once when the record cannot be written, and once when it can again. */
  readonly onTrouble: (text: string) => void;
}

const flushMs = 1000;
/** A step never waits longer than this for another process; what was not written then is written a second later. */
const busyMs = 20;
const patientMs = 5000;
/** While writing fails: how long to keep trying before it is told, and then the time between attempts. */
const silentMs = 10_000;
const retryMs = 15_000;
/** What is kept at most while writing fails. */
const mostBlocks = 16;
const mostOperations = 20_000;

type Operation = (database: Database) => void;

/** One stretch of steps; its number is known once it is written. */
interface Session {
  number: number;
  /** Full, or closed by a gap: to be written as one row. */
  readonly closed: StepBuffer[];
  current: StepBuffer | null;
  /** Steps of `current` that are in `tails` already. */
  written: number;
  lastStep: number;
}

/** A run in an SQLite store. One of these per process and store. */
export class StoreRecord implements RunRecord {
  readonly #options: StoreRecordOptions;
  readonly #database: Database;
  readonly #now: () => number;
  readonly #limit = new EventLimit();
  readonly #memory = new Map<string, TierUse>();
  readonly #sessions: Session[] = [];
  /** What was told before the run began: a run that never begins is not recorded. */
  #early: (() => void)[] = [];
  #operations: Operation[] = [];
  #movement: MovementFigures | null = null;
  #start: Omit<SessionStart, 'cause' | 'fromStep' | 'startedMs'> | null = null;
  #run: RunRow | null = null;
  #timer: NodeJS.Timeout | undefined;
  #flushedMs = Number.NEGATIVE_INFINITY;
  #failingSinceMs: number | null = null;
  #told = false;
  #finished = false;

  /** Opens the store. Throws as `openStore` does. */
  constructor(options: StoreRecordOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#database = openStore(options.file, { busyMs: patientMs });
    // Taken over every 16 MB rather than every 4: each time waits for the disk.
    this.#database.pragma('wal_autocheckpoint = 4000');
  }

  get id(): string | null {
    return this.#run?.id ?? null;
  }

  begin(start: RunStart): void {
    const { name, file, output, config, git, machine, host } = this.#options;
    const { completedSteps, totalSteps, resumedFrom = null } = start;
    this.#start = {
      totalSteps,
      host,
      pid: process.pid,
      config: JSON.stringify(config),
      git: git === null ? null : JSON.stringify(git),
      machine: JSON.stringify({ ...(machine as object), device: start.device, precision: start.precision }),
    };
    const key = outputKey(file, output);
    const from = resumedFrom === null ? null : outputKey(file, resumedFrom);
    this.#operations.push((database) => {
      const known = completedSteps === 0 ? undefined : runOf(database, key);
      if (known !== undefined) {
        this.#run = known;
        return;
      }
      const parent = from === null ? undefined : runHolding(database, from);
      const id = newRunId(database, name);
      const row = { id, name, output: key, created_ms: this.#now(), parent: parent?.id ?? null };
      insertRow(database, 'runs', { ...row, parent_step: parent === undefined ? null : completedSteps });
      this.#run = runOf(database, key)!;
    });
    this.#newSession(completedSteps === 0 ? 'start' : 'resume', completedSteps);
    for (const tell of this.#early) tell();
    this.#early = [];
    this.#database.pragma(`busy_timeout = ${patientMs}`);
    this.flush();
    this.#database.pragma(`busy_timeout = ${busyMs}`);
    this.#timer = setInterval(() => this.flush(), flushMs).unref();
  }

  step(row: StepRow): void {
    let session = this.#sessions.at(-1);
    if (session === undefined) return;
    if (row.step <= session.lastStep) session = this.#rewind(row.step - 1);
    const nowMs = this.#now();
    if (session.current !== null && session.current.nextStep !== row.step) close(session);
    session.current ??= new StepBuffer(row.step);
    session.current.push(row, nowMs);
    session.lastStep = row.step;
    if (session.current.full) close(session);
    // The timer comes first where the loop lets it; a loop that never does is written all the same.
    if (nowMs - this.#flushedMs >= flushMs) this.flush();
  }

  event(text: string, { kind, step, details }: RecordedAs): void {
    const atMs = this.#now();
    const omitted = this.#limit.admit(kind, atMs);
    if (omitted === null) return;
    const all = omitted === 0 ? details : { ...details, omittedBefore: omitted };
    this.#insert('events', step, { kind, text, details: all === undefined ? null : JSON.stringify(all) });
  }

  evaluation({ step, loss }: EvaluationReport): void {
    this.#insert('evaluations', step, { loss: Number.isFinite(loss) ? loss : null });
  }

  checkpoint({ step, path, bytes, seconds, blockedSeconds }: SavedReport): void {
    const row = { path, bytes: bytes ?? null, seconds: seconds ?? null, blocked_seconds: blockedSeconds ?? null };
    this.#insert('checkpoints', step, row);
  }

  memory(step: number, uses: readonly TierUse[]): void {
    for (const use of uses) {
      const known = this.#memory.get(use.tier);
      const change = Math.abs(use.usedBytes - (known?.usedBytes ?? 0));
      if (known?.budgetBytes === use.budgetBytes && change <= use.budgetBytes / 100) continue;
      this.#memory.set(use.tier, use);
      const { tier, label = null, usedBytes, budgetBytes } = use;
      // A budget that nobody set is as large as numbers go.
      const budget = Math.min(budgetBytes, Number.MAX_SAFE_INTEGER);
      this.#insert('memory', step, {
        tier,
        label,
        used_bytes: Math.round(usedBytes),
        budget_bytes: Math.round(budget),
      });
    }
  }

  movement(report: MovementFigures): void {
    this.#movement = report;
  }

  finish(outcome: RunOutcome, reason?: string): void {
    if (this.#finished) return;
    this.#finished = true;
    const session = this.#sessions.at(-1);
    if (session === undefined) return;
    close(session);
    this.#operations.push((database) =>
      endSession(database, session.number, { outcome, reason: reason ?? null, nowMs: this.#now() }),
    );
    this.#database.pragma(`busy_timeout = ${patientMs}`);
    this.flush();
  }

  /** Writes what is buffered, in one transaction. What cannot be written now is kept for the next time. */
  flush(): void {
    const nowMs = this.#now();
    this.#flushedMs = nowMs;
    if (!this.#database.open || this.#sessions.length === 0 || this.#nothingNew()) return;
    if (this.#told && !this.#finished && nowMs - this.#failingSinceMs! < retryMs) return;
    try {
      this.#database.transaction(() => this.#write(nowMs)).immediate();
      this.#written();
    } catch (error) {
      this.#failed(error, nowMs);
    }
  }

  dispose(): void {
    if (!this.#database.open) return;
    clearInterval(this.#timer);
    this.finish('failed');
    this.#database.close();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #nothingNew(): boolean {
    const news = (session: Session): boolean =>
      session.closed.length > 0 || (session.current !== null && session.current.count > session.written);
    return this.#operations.length === 0 && this.#movement === null && !this.#sessions.some(news);
  }

  #write(nowMs: number): void {
    const database = this.#database;
    for (const operation of this.#operations) operation(database);
    for (const { number, closed, current, written, lastStep } of this.#sessions) {
      for (const buffer of closed) insertBlock(database, number, buffer);
      if (current !== null && current.count > written) insertTail(database, number, current, written);
      touchSession(database, number, lastStep, nowMs);
    }
    if (this.#movement !== null) replaceMovement(database, this.#sessions.at(-1)!.number, this.#movement);
  }

  #written(): void {
    this.#operations = [];
    this.#movement = null;
    // Only the last one can get more steps.
    this.#sessions.splice(0, this.#sessions.length - 1);
    for (const session of this.#sessions) {
      session.closed.length = 0;
      session.written = session.current?.count ?? 0;
    }
    if (this.#told) this.#options.onTrouble('the record of this run is written again');
    this.#failingSinceMs = null;
    this.#told = false;
  }

  #failed(error: unknown, nowMs: number): void {
    this.#failingSinceMs ??= nowMs;
    const busy = (error as { code?: unknown }).code === 'SQLITE_BUSY';
    if (this.#told) this.#failingSinceMs = nowMs;
    else if (!busy || this.#finished || nowMs - this.#failingSinceMs > silentMs) {
      this.#told = true;
      this.#failingSinceMs = nowMs;
      const told = storeError(this.#options.file, error);
      const reason = told instanceof Error ? told.message : String(told);
      this.#options.onTrouble(`the record of this run cannot be written (${reason}); training goes on without it`);
    }
    for (const { closed } of this.#sessions) closed.splice(0, closed.length - mostBlocks);
  }

  #newSession(cause: SessionStart['cause'], fromStep: number): Session {
    const session: Session = { number: 0, closed: [], current: null, written: 0, lastStep: fromStep };
    const startedMs = this.#now();
    this.#sessions.push(session);
    this.#operations.push((database) => {
      session.number = insertSession(database, this.#run!.number, { ...this.#start!, cause, fromStep, startedMs });
    });
    return session;
  }

  #rewind(toStep: number): Session {
    const old = this.#sessions.at(-1)!;
    close(old);
    this.#operations.push((database) => {
      endSession(database, old.number, { outcome: 'rewound', reason: null, nowMs: this.#now() });
    });
    return this.#newSession('rewind', toStep);
  }

  #insert(table: string, step: number | undefined, row: Row, atMs = this.#now()): void {
    const session = this.#sessions.at(-1);
    if (session === undefined) {
      this.#early.push(() => this.#insert(table, step, row, atMs));
      return;
    }
    if (this.#operations.length >= mostOperations) return;
    const place = { step: step ?? session.lastStep, at_ms: atMs };
    this.#operations.push((database) => insertRow(database, table, { session: session.number, ...place, ...row }));
  }
}

/** Sets the newest steps apart, to be written as one row. */
function close(session: Session): void {
  if (session.current === null) return;
  session.closed.push(session.current);
  session.current = null;
  session.written = 0;
}
