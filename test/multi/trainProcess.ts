/** `tierra train` and its relatives in processes of their own, on a small corpus in a scratch folder. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { onTestFinished } from 'vitest';
import { program } from '../compiled.ts';
import { type Outcome, runCli } from '../unit/cli/runCli.ts';
import { sentences } from './sentences.ts';

export function scratch(): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'tierra-train-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A folder with a corpus and a `run.yaml`: 12 steps of a small model with dropout, accumulation and clipping. */
export function project(): string {
  const folder = scratch();
  writeFileSync(path.join(folder, 'corpus.txt'), sentences(600));
  writeFileSync(
    path.join(folder, 'run.yaml'),
    `name: small
device: cpu
model:
  architecture: gpt2
  config: { n_embd: 32, n_layer: 2, n_head: 2, n_positions: 64, resid_pdrop: 0.1, attn_pdrop: 0.1, embd_pdrop: 0.1 }
data: { train: corpus.txt, sequenceLength: 32, cache: cache }
train: { steps: 12, batchSize: 2, accumulate: 2, clipNorm: 0.5, logEvery: 1, saveEvery: 5, evaluateEvery: 4, evaluateBatches: 2, output: out }
optimizer: { learningRate: 3e-3, groups: [{ match: ln_, learningRate: 1e-3 }] }
runtime: { threads: 1, optimizerThreads: 1 }
sample: { prompt: "tensor ", tokens: 12 }
`,
  );
  return folder;
}

export interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Running {
  readonly child: ChildProcess;
  /** Resolves when the output so far matches. */
  seen(pattern: RegExp): Promise<void>;
  readonly ended: Promise<Ended>;
}

/** Starts `tierra ...args` in `folder`. */
export function start(folder: string, args: readonly string[], env: Record<string, string> = {}): Running {
  const [node, ...main] = program('src/cli/main.ts');
  const child = spawn(node!, [...main, ...args], {
    cwd: folder,
    env: { ...process.env, NO_COLOR: '1', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  const waiting = new Set<() => void>();
  child.stdout.on('data', (data: Buffer) => {
    stdout += data.toString();
    for (const check of waiting) check();
  });
  child.stderr.on('data', (data: Buffer) => {
    stderr += data.toString();
  });
  const ended = new Promise<Ended>((resolve) => {
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
  const seen = (pattern: RegExp): Promise<void> =>
    new Promise((resolve, reject) => {
      const check = (): void => {
        if (!pattern.test(stdout)) return;
        waiting.delete(check);
        resolve();
      };
      waiting.add(check);
      check();
      void ended.then(() => reject(new Error(`ended without ${pattern}:\n${stdout}\n${stderr}`)));
    });
  return { child, seen, ended };
}

export const run = (folder: string, args: readonly string[], env?: Record<string, string>): Promise<Ended> =>
  start(folder, args, env).ended;

/** The same in this process, in a fraction of the time: for what is neither killed nor told by signals. */
export async function runHere(folder: string, args: readonly string[]): Promise<Outcome> {
  const before = process.cwd();
  process.chdir(folder);
  try {
    return await runCli(args);
  } finally {
    process.chdir(before);
  }
}

/** `step number → loss as printed`. */
export function lossesIn(stdout: string): Record<string, string> {
  return Object.fromEntries(Array.from(stdout.matchAll(/^step +(\d+)\/\d+ {2}loss (\S+)/gm), (m) => [m[1]!, m[2]!]));
}

/** Weights and optimizer state of a checkpoint, byte for byte. */
export function statesOf(output: string, step: number): Record<string, string> {
  const folder = path.join(output, 'checkpoints', `step-${String(step).padStart(8, '0')}`);
  return Object.fromEntries(
    ['model/model.safetensors', 'optimizer/optimizer.safetensors'].map((file) => [
      file,
      readFileSync(path.join(folder, file)).toString('base64'),
    ]),
  );
}
