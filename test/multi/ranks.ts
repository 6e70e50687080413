/**
 * Runs one script in several real processes that form a world, and collects what each gives back. The script exports
 * `run(communicator, input)`; what it returns arrives as JSON (NaN and infinities do not survive that). The store is served by
 * the test, so that any rank may be killed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import path from 'node:path';
import { openStore } from '../../src/dist/index.ts';
import { compiled, program } from '../compiled.ts';

export interface RanksOptions {
  /** Passed to `run` on every rank, as JSON. */
  readonly input?: unknown;
  readonly deterministic?: boolean;
  /** Of collectives; the whole run has a minute more. Default 60. */
  readonly timeoutSeconds?: number;
  readonly env?: Readonly<Record<string, string>>;
  /** Where rank 0 serves the store; without it the test does. */
  readonly storePort?: number;
}

export interface RankEnd {
  readonly rank: number;
  readonly code: number | null;
  readonly signal: string | null;
  /** What `run` returned; undefined when it threw. */
  readonly value: unknown;
  /** What it threw: `code: message`. */
  readonly error: string | undefined;
  readonly output: string;
}

export interface RunningRanks {
  readonly children: readonly ChildProcess[];
  /** Resolves when rank `rank` has sent `{ mark: name }` with `mark(name)`. */
  marked(rank: number, name: string): Promise<void>;
  /** All ends, in rank order; never rejects for what happens in a rank. */
  readonly ended: Promise<RankEnd[]>;
}

const root = path.resolve(import.meta.dirname, '../..');

/** Starts `size` ranks of `script` (a path, or a name in this folder). */
export function startRanks(size: number, script: string, options: RanksOptions = {}): RunningRanks {
  const timeoutSeconds = options.timeoutSeconds ?? 60;
  const external = options.storePort === undefined;
  const store = external ? openStore({ host: '127.0.0.1', port: 0, server: true, timeoutSeconds }) : null;
  const port = options.storePort ?? store!.port;
  const world = (rank: number): object => ({
    launcher: 'tierra',
    rank,
    size,
    localRank: rank,
    localSize: size,
    rendezvous: { host: '127.0.0.1', port, external },
  });
  const job = { script: compiled(path.resolve(import.meta.dirname, script)), input: options.input, timeoutSeconds };
  const marks = new Map<string, () => void>();
  const seen = new Set<string>();
  const children: ChildProcess[] = [];
  const ends = Array.from({ length: size }, (_, rank) => {
    const [node, ...args] = program('test/multi/rankProcess.ts');
    const started = spawn(node!, args, {
      cwd: root,
      env: { ...process.env, OMP_NUM_THREADS: '1', OMP_WAIT_POLICY: 'PASSIVE', NO_COLOR: '1', ...options.env },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    children.push(started);
    started.send({ ...job, world: world(rank), deterministic: options.deterministic ?? true });
    return follow(started, rank, (name) => {
      seen.add(`${rank}/${name}`);
      marks.get(`${rank}/${name}`)?.();
    });
  });
  const timer = setTimeout(() => kill(children), (timeoutSeconds + 60) * 1000);
  const ended = Promise.all(ends).finally(() => {
    clearTimeout(timer);
    store?.dispose();
  });
  const marked = (rank: number, name: string): Promise<void> =>
    new Promise((resolve, reject) => {
      if (seen.has(`${rank}/${name}`)) resolve();
      marks.set(`${rank}/${name}`, resolve);
      void ended.then(() => reject(new Error(`rank ${rank} ended without the mark "${name}"`)));
    });
  return { children, marked, ended };
}

/** The value of every rank, in order. When one fails, all are stopped, and the error shows what each said. */
export async function runRanks<Value>(size: number, script: string, options: RanksOptions = {}): Promise<Value[]> {
  const ends = await startRanks(size, script, options).ended;
  const failed = ends.filter(({ error, code }) => error !== undefined || code !== 0);
  if (failed.length > 0) {
    const text = failed.map(
      ({ rank, code, signal, error, output }) => `rank ${rank} (${signal ?? code}): ${error}\n${output}`,
    );
    throw new Error(text.join('\n'));
  }
  return ends.map(({ value }) => value as Value);
}

function kill(children: readonly ChildProcess[]): void {
  for (const one of children) if (one.exitCode === null && one.signalCode === null) one.kill('SIGKILL');
}

function follow(process: ChildProcess, rank: number, onMark: (name: string) => void): Promise<RankEnd> {
  let output = '';
  let value: unknown;
  let error: string | undefined;
  for (const stream of [process.stdout, process.stderr])
    stream?.on('data', (data: Buffer) => (output += data.toString()));
  process.on('message', (message: { mark?: string; value?: unknown; error?: string }) => {
    if (message.mark !== undefined) onMark(message.mark);
    else ({ value, error } = { value: message.value, error: message.error });
  });
  return new Promise((resolve) => {
    process.on('close', (code, signal) => resolve({ rank, code, signal, value, error, output }));
  });
}
