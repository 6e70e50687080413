/** Kills `killVictim.ts` at named points and at random moments, again and again in one folder, and compares with a run left alone. */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { findNewest } from '../../src/engine/checkpoint/index.ts';
import type { ModelBytes } from '../cases/placements.ts';
import { program } from '../compiled.ts';

/** Where a process can be killed by name; the number is the largest k that a short run surely reaches. */
export const killPoints: readonly (readonly [site: string, mostK: number])[] = [
  ['step.forward', 4],
  ['step.backward', 4],
  ['step.update', 3],
  ['step.done', 3],
  ['checkpoint.K1', 2],
  ['checkpoint.created', 2],
  ['save.copy', 9],
  ['save.write', 30],
  ['save.fsync', 4],
  ['checkpoint.K3', 2],
  ['checkpoint.K4', 2],
  ['checkpoint.K5', 2],
  ['checkpoint.manifestWritten', 2],
  ['checkpoint.manifestFlushed', 2],
  ['checkpoint.K6', 2],
  ['checkpoint.K7', 2],
  ['checkpoint.parentFlushed', 2],
  ['checkpoint.K8', 1],
  ['checkpoint.pruned', 1],
  ['file.write', 3],
  ['file.fsync', 7],
  ['io.read', 60],
  ['io.write', 60],
  ['lane.copy', 60],
  ['lane.update', 20],
  ['resume.find', 1],
  ['checkpoint.verify', 2],
  ['resume.load', 1],
  ['resume.loaded', 1],
];

/** SplitMix32: the same kills for the same seed. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    return ((z ^ (z >>> 16)) >>> 0) / 2 ** 32;
  };
}

export type Kill =
  | { readonly at: 'point'; readonly site: string; readonly k: number }
  | { readonly at: 'random'; readonly afterMs: number };

export const killText = (kill: Kill): string =>
  kill.at === 'point' ? `${kill.site}@k=${kill.k}` : `after ${Math.round(kill.afterMs)} ms`;

interface Life {
  readonly signal: string | null;
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** One process in `folder`, killed as `kill` says or left alone. */
export function live(folder: string, steps: number, kill: Kill | null): Promise<Life> {
  const fault = kill?.at === 'point' ? { TIERRA_FAULT: `${kill.site}:kill@k=${kill.k}` } : {};
  const [node, ...args] = program('test/multi/killVictim.ts');
  const child = spawn(node!, [...args, folder, String(steps)], {
    env: { ...process.env, OMP_NUM_THREADS: '1', ...fault },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  let timer: NodeJS.Timeout | undefined;
  child.stdout.on('data', (data: Buffer) => {
    stdout += data.toString();
    // From the first step on: loading the program is not what is tested.
    if (kill?.at === 'random' && timer === undefined && /^from /m.test(stdout)) {
      timer = setTimeout(() => child.kill('SIGKILL'), kill.afterMs);
    }
  });
  child.stderr.on('data', (data: Buffer) => {
    stderr += data.toString();
  });
  return new Promise((resolve) => {
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, stdout, stderr });
    });
  });
}

export function newFolder(bytes: ModelBytes | null): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'tierra-kill-'));
  mkdirSync(path.join(folder, 'swap'));
  if (bytes !== null) writeFileSync(path.join(folder, 'bytes.json'), JSON.stringify(bytes));
  return folder;
}

export const remove = (folder: string): void => rmSync(folder, { recursive: true, force: true });

/** The lines of an undisturbed run in which everything is resident. */
export async function oracleLines(steps: number): Promise<readonly string[]> {
  const folder = newFolder(null);
  const { code, stderr } = await live(folder, steps, null);
  if (code !== 0) throw new Error(`the undisturbed run failed: ${stderr}`);
  const lines = linesIn(folder);
  remove(folder);
  return lines;
}

const linesIn = (folder: string): string[] => {
  const log = path.join(folder, 'steps.log');
  return existsSync(log) ? readFileSync(log, 'utf8').split('\n').slice(0, -1) : [];
};

export interface Outcome {
  readonly kill: Kill;
  /** False: the run ended before the point was reached. */
  readonly killed: boolean;
  /** The step that the process began at. */
  readonly from: number;
  readonly complaints: readonly string[];
}

/** One life in a folder, and everything that must hold after it. */
export async function killOnce(folder: string, steps: number, kill: Kill, oracle: readonly string[]): Promise<Outcome> {
  const complaints: string[] = [];
  const expected = (await findNewest(path.join(folder, 'out'))).found?.step ?? 0;
  const { signal, code, stdout, stderr } = await live(folder, steps, kill);
  const killed = signal === 'SIGKILL';
  if (!killed && code !== 0) complaints.push(`ended with ${code ?? signal}: ${stderr.slice(0, 400)}`);
  const from = Number(/^from (\d+)$/m.exec(stdout)?.[1] ?? Number.NaN);
  if (!Number.isNaN(from) && from !== expected)
    complaints.push(`began at step ${from}, the last checkpoint is of ${expected}`);
  complaints.push(...complaintsAbout(folder, oracle, killed));
  return { kill, killed, from, complaints };
}

/**
 * Lines that differ from the oracle's, and what should not be in the swap folder. Who is killed while it measures the disk leaves the folder
 * that it measures in; the next run removes it.
 */
export function complaintsAbout(folder: string, oracle: readonly string[], killed = false): string[] {
  const known = new Map(oracle.map((line) => [line.split(' ')[0], line]));
  const wrong = linesIn(folder).filter((line) => known.get(line.split(' ')[0]) !== line);
  const complaints = wrong.map((line) => `not the oracle’s: ${line}`);
  const left = readdirSync(path.join(folder, 'swap')).filter(
    (name) => name !== 'tierra-swap.lock' && !(killed && name.startsWith('.tierra-measure-')),
  );
  if (left.length > 0) complaints.push(`left in the swap folder: ${left}`);
  return complaints;
}

/** Lets the run come to its end; the last lines must be the oracle's too, and nothing half written may be left. */
export async function finishRun(folder: string, steps: number, oracle: readonly string[]): Promise<string[]> {
  const { code, signal, stderr } = await live(folder, steps, null);
  const complaints = complaintsAbout(folder, oracle);
  if (code !== 0) complaints.push(`the last run ended with ${code ?? signal}: ${stderr.slice(0, 400)}`);
  if (!linesIn(folder).includes(oracle.at(-1)!)) complaints.push('the last hash is missing');
  const half = readdirSync(path.join(folder, 'out', 'checkpoints')).filter((name) => !/^step-\d{8}$/.test(name));
  if (half.length > 0) complaints.push(`left over: ${half}`);
  const { passedOver } = await findNewest(path.join(folder, 'out'));
  if (passedOver.length > 0) complaints.push(`not sound: ${passedOver.map(({ reason }) => reason)}`);
  return complaints;
}
