/**
 * Kills ranks of `tierra run -n N --restarts K config.yaml` with SIGKILL, one after another, and looks at what the others
 * do: who they say is lost, how soon they are gone, and whether the run that the launcher starts again ends as if nothing
 * had happened.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { checkpointsFolder, stepName } from '../../src/engine/checkpoint/names.ts';
import { program } from '../compiled.ts';
import { sentences } from './sentences.ts';

/** What is killed: so many ranks, with parts of the model that live in such places. */
export interface RankSetup {
  readonly name: string;
  readonly ranks: number;
  readonly zero: 0 | 1 | 2 | 3;
  readonly tiers: 'none' | 'host' | 'disk';
}

export interface RankKill {
  readonly rank: number;
  /** `start`: while ranks load and meet. `step`: from the first step of this start on. */
  readonly from: 'start' | 'step';
  readonly afterMs: number;
}

export interface KillOutcome {
  readonly kill: RankKill;
  /** False: the run ended first. */
  readonly killed: boolean;
  /** From the kill to the end of the last of the others. */
  readonly goneMs: number;
  /** The ranks that named the killed one themselves, beside the launcher. */
  readonly witnesses: number;
  readonly complaints: readonly string[];
}

const markName = 'TIERRA_TEST_MARK';
/** Issue: all others leave within this. */
const patienceMs = 15_000;

const memories = {
  none: '{}',
  host: '{ gpu: 64MiB, cpu: 64MiB, policy: static, static: { gpuParameters: 0.3 } }',
  disk: '{ gpu: 64MiB, cpu: 64MiB, nvme: { path: swap, size: 64MiB }, policy: static, static: { hostParameters: 0.5, hostStates: 0.3 } }',
};

/** A folder with a corpus and a small model that is saved every third step. */
export function rankFolder({ zero, tiers }: RankSetup, steps: number): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'tierra-rank-kills-'));
  writeFileSync(path.join(folder, 'corpus.txt'), sentences(400));
  writeFileSync(
    path.join(folder, 'run.yaml'),
    `name: killed
device: cpu
model:
  architecture: gpt2
  config: { n_embd: 48, n_layer: 2, n_head: 4, n_positions: 32, resid_pdrop: 0.1, attn_pdrop: 0.1, embd_pdrop: 0.1 }
data: { train: corpus.txt, sequenceLength: 32, cache: cache }
train: { steps: ${steps}, batchSize: 12, accumulate: 2, clipNorm: 0.5, logEvery: 1, saveEvery: 3, keepLast: 2, output: out }
optimizer: { learningRate: 3e-3 }
parallel: { zero: ${zero} }
memory: ${memories[tiers]}
runtime: { threads: 1, optimizerThreads: 1 }
`,
  );
  return folder;
}

export const removeFolder = (folder: string): void => rmSync(folder, { recursive: true, force: true });

/** Everything the last checkpoint holds of the model and the optimizer, byte for byte. */
export function lastState(folder: string, step: number): Record<string, string> {
  const checkpoint = path.join(checkpointsFolder(path.join(folder, 'out')), stepName(step));
  const found: Record<string, string> = {};
  for (const part of ['model', 'optimizer']) {
    for (const file of readdirSync(path.join(checkpoint, part)).filter((name) => name.endsWith('.safetensors'))) {
      found[`${part}/${file}`] = readFileSync(path.join(checkpoint, part, file)).toString('base64');
    }
  }
  return found;
}

const lossesIn = (stdout: string): Map<string, string> =>
  new Map(Array.from(stdout.matchAll(/^\[0\] step +(\d+)\/\d+ {2}loss (\S+)/gm), (m) => [m[1]!, m[2]!]));

class Job {
  readonly #child: ChildProcess;
  readonly #program = program('src/cli/main.ts');
  readonly #mark = `${process.pid}-${Math.random()}`;
  readonly ended: Promise<number | null>;
  out = '';
  err = '';

  constructor(folder: string, { ranks }: RankSetup, restarts: number) {
    const [node, ...main] = this.#program;
    const args = ['run', '-n', String(ranks), '--restarts', String(restarts), 'run.yaml'];
    this.#child = spawn(node!, [...main, ...args], {
      cwd: folder,
      env: { ...process.env, NO_COLOR: '1', OMP_NUM_THREADS: '1', OMP_WAIT_POLICY: 'PASSIVE', [markName]: this.#mark },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child.stdout!.on('data', (data: Buffer) => (this.out += data.toString()));
    this.#child.stderr!.on('data', (data: Buffer) => (this.err += data.toString()));
    this.ended = new Promise((resolve) => this.#child.on('close', resolve));
  }

  /** Ranks that run, by rank. */
  pids(): Map<number, number> {
    const found = new Map<number, number>();
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      try {
        const environment = readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0');
        if (!environment.includes(`${markName}=${this.#mark}`)) continue;
        const rank = environment.find((entry) => entry.startsWith('RANK='));
        // A rank's own children, such as a compiler's, have its environment too.
        if (rank === undefined || !readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(this.#program.at(-1)!))
          continue;
        if (isAlive(Number(pid))) found.set(Number(rank.slice(5)), Number(pid));
      } catch {}
    }
    return found;
  }

  get over(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  kill(): void {
    for (const pid of this.pids().values()) process.kill(pid, 'SIGKILL');
    if (!this.over) this.#child.kill('SIGKILL');
  }
}

/** Whether a process runs; a zombie does not. */
function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'));
  } catch {
    return false;
  }
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until `holds` or the job is over; throws after five minutes. */
async function until(job: Job, holds: () => boolean): Promise<boolean> {
  for (const end = Date.now() + 300_000; !holds(); await sleep(20)) {
    if (job.over) return false;
    if (Date.now() > end) throw new Error(`nothing happens:\n${job.out}\n${job.err}`);
  }
  return true;
}

/** An undisturbed run: its losses, as printed, and its last state. */
export async function undisturbed(setup: RankSetup, steps: number): Promise<Reference> {
  const folder = rankFolder(setup, steps);
  const job = new Job(folder, setup, 0);
  const code = await job.ended;
  if (code !== 0) throw new Error(`the undisturbed run ended with ${code}:\n${job.out}\n${job.err}`);
  const reference = { losses: lossesIn(job.out), state: lastState(folder, steps) };
  removeFolder(folder);
  return reference;
}

export interface Reference {
  readonly losses: ReadonlyMap<string, string>;
  readonly state: Readonly<Record<string, string>>;
}

/** One job whose ranks are killed as `kills` say, each in the next start; it must end as the undisturbed one does. */
export async function killRanks(
  setup: RankSetup,
  steps: number,
  kills: readonly RankKill[],
  reference: Reference,
): Promise<{ readonly outcomes: KillOutcome[]; readonly complaints: string[] }> {
  const folder = rankFolder(setup, steps);
  const job = new Job(folder, setup, kills.length);
  const outcomes: KillOutcome[] = [];
  const complaints: string[] = [];
  try {
    for (const kill of kills) outcomes.push(await killOne(job, setup, kill));
    const code = await job.ended;
    if (code !== 0) complaints.push(`the job ended with ${code}: ${job.err.slice(-600)}`);
    else {
      for (const [step, loss] of lossesIn(job.out)) {
        const expected = reference.losses.get(step);
        if (loss !== expected) complaints.push(`loss ${loss} in step ${step}, undisturbed ${expected}`);
      }
      const state = lastState(folder, steps);
      const names = new Set([...Object.keys(state), ...Object.keys(reference.state)]);
      for (const name of names)
        if (state[name] !== reference.state[name]) complaints.push(`${name} differs at the end`);
    }
  } finally {
    job.kill();
    await job.ended;
    removeFolder(folder);
  }
  return { outcomes, complaints };
}

async function killOne(job: Job, { ranks }: RankSetup, kill: RankKill): Promise<KillOutcome> {
  const ended = { kill, killed: false, goneMs: 0, witnesses: 0, complaints: [] };
  if (!(await until(job, () => job.pids().size === ranks))) return ended;
  // What ranks said before they were all gone belongs to the start before.
  const from = { out: job.out.length, err: job.err.length };
  const stepped = (): boolean => /^\[0\] step /m.test(job.out.slice(from.out));
  if (kill.from === 'step' && !(await until(job, stepped))) return ended;
  const pids = job.pids();
  await sleep(kill.afterMs);
  const victim = pids.get(kill.rank);
  if (victim === undefined || pids.size < ranks || !isAlive(victim)) return ended;
  process.kill(victim, 'SIGKILL');
  const began = performance.now();
  const others = [...pids].filter(([rank]) => rank !== kill.rank).map(([, pid]) => pid);
  const gone = (): boolean => !others.some(isAlive);
  while (!gone() && performance.now() - began < 4 * patienceMs) await sleep(10);
  const goneMs = performance.now() - began;
  const complaints = goneMs > patienceMs ? [`ranks were still there after ${Math.round(goneMs)} ms`] : [];
  // What they said last may still be on its way through the launcher.
  const launcherNamed = (): boolean => /^tierra run: rank (\d+) ended with/m.test(job.err.slice(from.err));
  await until(job, launcherNamed);
  await sleep(200);
  const said = `${job.out.slice(from.out)}\n${job.err.slice(from.err)}`;
  const first = /^tierra run: rank (\d+) ended with (SIGKILL)?/m.exec(said);
  if (first?.[1] !== String(kill.rank) || first[2] !== 'SIGKILL') complaints.push(`the launcher says ${first?.[0]}`);
  const blames = [...said.matchAll(/tierra: rank (\d+) ends because rank (\d+) /g)];
  for (const [text, , blamed] of blames) if (blamed !== String(kill.rank)) complaints.push(`wrong rank: ${text}`);
  const witnesses = new Set(blames.map(([, witness]) => witness)).size;
  return { kill, killed: true, goneMs, witnesses, complaints };
}
