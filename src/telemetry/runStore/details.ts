/** What the store knows of a run besides its steps. */
import { hostname } from 'node:os';
import type { Database } from './driver.ts';

export interface SessionDetails {
  readonly number: number;
  readonly cause: 'start' | 'resume' | 'rewind';
  readonly fromStep: number;
  readonly lastStep: number;
  readonly totalSteps: number | null;
  readonly startedMs: number;
  readonly seenMs: number;
  readonly endedMs: number | null;
  readonly outcome: SessionOutcome;
  readonly reason: string | null;
  readonly host: string;
  readonly pid: number;
  readonly config: Readonly<Record<string, unknown>>;
  readonly git: { readonly revision: string; readonly dirty: boolean | null } | null;
  readonly machine: Readonly<Record<string, unknown>>;
}

/** As recorded; of a session without an end: `running`, or `killed` when its process is gone. */
export type SessionOutcome = 'completed' | 'interrupted' | 'failed' | 'rewound' | 'running' | 'killed';

export interface RunDetails {
  readonly number: number;
  readonly id: string;
  readonly name: string;
  readonly output: string;
  readonly createdMs: number;
  readonly parent: string | null;
  readonly parentStep: number | null;
  /** Oldest first; a run has at least one. */
  readonly sessions: readonly SessionDetails[];
}

interface RawSession extends Omit<SessionDetails, 'config' | 'git' | 'machine' | 'outcome'> {
  readonly run: number;
  readonly outcome: string | null;
  readonly config: string;
  readonly git: string | null;
  readonly machine: string;
}

/** All runs, oldest first, or one. */
export function runDetails(database: Database, only?: number): RunDetails[] {
  const [where, values] = only === undefined ? ['', []] : ['WHERE number = ?', [only]];
  const runs = database
    .prepare<number[], Omit<RunDetails, 'sessions'>>(
      `SELECT number, id, name, output, created_ms AS createdMs, parent, parent_step AS parentStep FROM runs ${where} ORDER BY number`,
    )
    .all(...values);
  const sessions = database
    .prepare<number[], RawSession>(
      `SELECT number, run, cause, from_step AS fromStep, last_step AS lastStep, total_steps AS totalSteps,
         started_ms AS startedMs, seen_ms AS seenMs, ended_ms AS endedMs, outcome, reason, host, pid, config, git, machine
       FROM sessions ${where.replace('number', 'run')} ORDER BY number`,
    )
    .all(...values);
  const byRun = groupByRun(sessions);
  return runs.map((run) => ({ ...run, sessions: (byRun.get(run.number) ?? []).map(parsed) }));
}

/** `Map.groupBy` came after Node 20. */
function groupByRun(sessions: readonly RawSession[]): Map<number, RawSession[]> {
  const groups = new Map<number, RawSession[]>();
  for (const session of sessions) groups.set(session.run, [...(groups.get(session.run) ?? []), session]);
  return groups;
}

const parsed = ({ config, git, machine, outcome, run: _, ...rest }: RawSession): SessionDetails => ({
  ...rest,
  outcome: (outcome as SessionOutcome | null) ?? (isAlive(rest) ? 'running' : 'killed'),
  config: JSON.parse(config) as SessionDetails['config'],
  git: git === null ? null : (JSON.parse(git) as SessionDetails['git']),
  machine: JSON.parse(machine) as SessionDetails['machine'],
});

/** Of another machine's process nothing is known: it counts as running while its record was written lately. */
function isAlive({ host, pid, seenMs }: Pick<SessionDetails, 'host' | 'pid' | 'seenMs'>): boolean {
  if (host !== hostname()) return Date.now() - seenMs < 3600_000;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as { code?: string }).code === 'EPERM';
  }
}

export interface EventDetails {
  readonly step: number;
  readonly atMs: number;
  readonly kind: string;
  readonly text: string;
  readonly details: Readonly<Record<string, unknown>> | null;
}

/** In order of time, also those of superseded steps: they happened. */
export function eventsOf(database: Database, run: number): EventDetails[] {
  return database
    .prepare<[number], Omit<EventDetails, 'details'> & { details: string | null }>(
      `SELECT step, at_ms AS atMs, kind, text, details FROM events
       WHERE session IN (SELECT number FROM sessions WHERE run = ?) ORDER BY at_ms, rowid`,
    )
    .all(run)
    .map((event) => ({ ...event, details: event.details === null ? null : JSON.parse(event.details) }));
}

export interface EvaluationDetails {
  readonly step: number;
  readonly atMs: number;
  readonly loss: number | null;
}

/** The last of each step. */
export function evaluationsOf(database: Database, { number, sessions }: RunDetails): EvaluationDetails[] {
  const rows = database
    .prepare<[number], EvaluationDetails & { session: number }>(
      `SELECT session, step, at_ms AS atMs, loss FROM evaluations
       WHERE session IN (SELECT number FROM sessions WHERE run = ?) ORDER BY step, rowid`,
    )
    .all(number);
  const stands = ({ session, step }: { session: number; step: number }): boolean =>
    !sessions.some((later) => later.number > session && later.fromStep < step);
  const byStep = new Map(rows.filter(stands).map(({ session: _, ...row }) => [row.step, row]));
  return [...byStep.values()];
}

export interface CheckpointDetails {
  readonly step: number;
  readonly atMs: number;
  readonly path: string;
  readonly bytes: number | null;
  readonly seconds: number | null;
  readonly blockedSeconds: number | null;
}

export function checkpointsOf(database: Database, run: number): CheckpointDetails[] {
  return database
    .prepare<[number], CheckpointDetails>(
      `SELECT step, at_ms AS atMs, path, bytes, seconds, blocked_seconds AS blockedSeconds FROM checkpoints
       WHERE session IN (SELECT number FROM sessions WHERE run = ?) ORDER BY at_ms, rowid`,
    )
    .all(run);
}

export interface MemoryDetails {
  readonly tier: 'gpu' | 'host' | 'nvme';
  readonly label: string | null;
  readonly usedBytes: number;
  readonly mostBytes: number;
  readonly budgetBytes: number;
}

/** Per tier, nearest to the compute first: what the last session used, last and at most. */
export function memoryOf(database: Database, session: number): MemoryDetails[] {
  return database
    .prepare<[number], MemoryDetails>(
      `SELECT tier, label, used_bytes AS usedBytes, budget_bytes AS budgetBytes, max(rowid) AS newest,
         (SELECT max(used_bytes) FROM memory AS all_of WHERE all_of.session = memory.session AND all_of.tier = memory.tier) AS mostBytes
       FROM memory WHERE session = ? GROUP BY tier ORDER BY tier = 'nvme', tier = 'host'`,
    )
    .all(session)
    .map(({ tier, label, usedBytes, mostBytes, budgetBytes }) => ({ tier, label, usedBytes, mostBytes, budgetBytes }));
}

export interface MovementDetails {
  readonly steps: number;
  readonly stepSeconds: number;
  readonly computeSeconds: number;
  /** Longest first; seconds a step. */
  readonly stalls: readonly { readonly cause: string; readonly seconds: number }[];
  readonly lanes: Readonly<Record<string, { readonly bytes: number; readonly busySeconds: number }>>;
}

/** Means per step over all sessions that moved anything; null when none did. */
export function movementOf(database: Database, run: number): MovementDetails | null {
  const rows = database
    .prepare<[number], { session: number; steps: number; stepSeconds: number; computeSeconds: number; lanes: string }>(
      `SELECT session, steps, step_seconds AS stepSeconds, compute_seconds AS computeSeconds, lanes FROM movements
       WHERE session IN (SELECT number FROM sessions WHERE run = ?) AND steps > 0`,
    )
    .all(run);
  if (rows.length === 0) return null;
  const steps = rows.reduce((sum, row) => sum + row.steps, 0);
  const share = (row: { steps: number }): number => row.steps / steps;
  const stalls = new Map<string, number>();
  const lanes: Record<string, { bytes: number; busySeconds: number }> = {};
  const waits = database.prepare<[number], { cause: string; seconds: number }>(
    'SELECT cause, seconds FROM stalls WHERE session = ?',
  );
  for (const row of rows) {
    for (const { cause, seconds } of waits.all(row.session)) {
      stalls.set(cause, (stalls.get(cause) ?? 0) + seconds * share(row));
    }
    const moved = JSON.parse(row.lanes) as MovementDetails['lanes'];
    for (const [lane, { bytes, busySeconds }] of Object.entries(moved)) {
      const sum = lanes[lane] ?? { bytes: 0, busySeconds: 0 };
      lanes[lane] = {
        bytes: sum.bytes + bytes * share(row),
        busySeconds: sum.busySeconds + busySeconds * share(row),
      };
    }
  }
  return {
    steps,
    stepSeconds: rows.reduce((sum, row) => sum + row.stepSeconds * share(row), 0),
    computeSeconds: rows.reduce((sum, row) => sum + row.computeSeconds * share(row), 0),
    stalls: [...stalls].map(([cause, seconds]) => ({ cause, seconds })).sort((a, b) => b.seconds - a.seconds),
    lanes,
  };
}
