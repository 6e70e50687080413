/** Jobs in processes of their own; nothing they start outlives a test. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { onTestFinished } from 'vitest';
import { program } from '../../compiled.ts';

export const root = path.resolve(import.meta.dirname, '../../..');

export function scratch(): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'tierra-launch-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly out: string;
  readonly err: string;
}

export interface Running {
  readonly child: ChildProcess;
  readonly out: string;
  readonly err: string;
  /** Resolves when stdout and stderr together match; rejects at the end without. */
  seen(pattern: RegExp): Promise<RegExpMatchArray>;
  readonly ended: Promise<Ended>;
}

/** Marks every process that a test starts, however deep, so that what is left can be found. */
const markName = 'TIERRA_TEST_MARK';

export function start(argv: readonly string[], env: Record<string, string | undefined> = {}, cwd = root): Running {
  const mark = `${process.pid}-${Math.random()}`;
  const child = spawn(argv[0]!, argv.slice(1), {
    cwd,
    env: { ...cleanEnvironment(), NO_COLOR: '1', [markName]: mark, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  let err = '';
  const checks = new Set<() => void>();
  const add = (to: 'out' | 'err') => (data: Buffer) => {
    if (to === 'out') out += data.toString();
    else err += data.toString();
    for (const check of checks) check();
  };
  child.stdout.on('data', add('out'));
  child.stderr.on('data', add('err'));
  const ended = new Promise<Ended>((resolve) => {
    child.on('close', (code, signal) => resolve({ code, signal, out, err }));
  });
  const seen = (pattern: RegExp): Promise<RegExpMatchArray> =>
    new Promise((resolve, reject) => {
      const check = (): void => {
        const match = pattern.exec(`${out}\n${err}`);
        if (match === null) return;
        checks.delete(check);
        resolve(match);
      };
      checks.add(check);
      check();
      void ended.then(() => reject(new Error(`ended without ${pattern}:\n${out}\n${err}`)));
    });
  onTestFinished(() => {
    for (const pid of marked(mark)) process.kill(pid, 'SIGKILL');
  });
  return {
    child,
    seen,
    ended,
    get out() {
      return out;
    },
    get err() {
      return err;
    },
  };
}

export const tierra = (args: readonly string[], env: Record<string, string | undefined> = {}, cwd?: string): Running =>
  start([...program('src/cli/main.ts'), ...args], env, cwd);

/** Without what a launcher around the tests may have set. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  const foreign =
    /^(?:RANK|WORLD_SIZE|LOCAL_RANK|LOCAL_WORLD_SIZE|MASTER_|SLURM_|OMPI_|PMIX_|PET_|TORCHELASTIC_|VITEST)/;
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !foreign.test(name)));
}

/** Processes with the mark in their environment. */
function marked(mark: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, 'latin1').includes(`${markName}=${mark}`);
      } catch {
        return false;
      }
    })
    .map(Number);
}

/** Whether a process runs; a zombie does not. */
export function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'));
  } catch {
    return false;
  }
}

export async function until(holds: () => boolean, what: string, patienceMs = 60_000): Promise<void> {
  const end = Date.now() + patienceMs;
  while (!holds()) {
    if (Date.now() > end) throw new Error(`still not: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export function script(folder: string, name: string, text: string): string {
  const file = path.join(folder, name);
  writeFileSync(file, text);
  return file;
}

/** Lines of ranks, without their prefix, by rank. */
export function linesOf(out: string): Record<string, string[]> {
  const lines: Record<string, string[]> = {};
  for (const [, rank, text] of out.matchAll(/^\[ *(\d+)\] (.*)$/gm)) {
    lines[rank!] ??= [];
    lines[rank!]!.push(text!);
  }
  return lines;
}
