/**
 * The whole fault loop: every site, every kind, k = 1, 2, 3, ... until the run passes untouched, and a kill at growing k.
 * `npm run soak [-- --every N]` writes bench/results/<day>-soak.md; `--every N` takes every N-th k only.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { native } from '../src/native/load.ts';
import { faults, type Oracle, oracle, runWithFault } from '../test/native/tiersFaultRuns.ts';

const { values: flags } = parseArgs({
  options: {
    every: { type: 'string', default: '1' },
    jobs: { type: 'string', default: '2' },
    child: { type: 'string' },
    out: { type: 'string' },
  },
});
const self = fileURLToPath(import.meta.url);
const stride = Number(flags.every);
const hangSeconds = 120;
const killed = ['io.read', 'io.write', 'io.reserve', 'lane.copy', 'lane.update'];

interface Line {
  readonly k: number;
  readonly hit: boolean;
  readonly completed: boolean;
  readonly errors: readonly string[];
  readonly complaints: readonly string[];
}

interface Row {
  readonly name: string;
  readonly runs: number;
  /** Passes of the site in an undisturbed run, as far as the loop had to go. */
  readonly reached: number;
  readonly untouched: number;
  readonly recovered: number;
  readonly stopped: number;
  readonly complaints: readonly string[];
}

/** One site and kind in a process of its own: a line of JSON per run. */
async function loop(site: string, kind: string): Promise<void> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'tierra-soak-'));
  const expected = oracle();
  for (let k = 1; ; k += stride) {
    const { hit, completed, errors, complaints } = await runWithFault({ site, kind }, k, expected, folder);
    const line: Line = { k, hit, completed, errors: errors.map(({ code }) => code), complaints };
    console.log(JSON.stringify(line));
    if (!hit) break;
  }
  rmSync(folder, { recursive: true, force: true });
}

/** Runs until the kill; the next run in the same folder must be the oracle's. */
async function victim(site: string, k: number, folder: string, expected: Oracle): Promise<void> {
  const { hit, completed, complaints } = await runWithFault({ site, kind: 'kill' }, k, expected, folder);
  if (!completed || complaints.length > 0) throw new Error(JSON.stringify({ hit, completed, complaints }));
  console.log(JSON.stringify({ hit }));
}

interface Child {
  readonly lines: readonly string[];
  readonly signal: string | null;
  readonly failure: string | null;
}

function child(args: readonly string[]): Promise<Child> {
  return new Promise((resolve) => {
    const process_ = spawn(process.execPath, ['--import', 'tsx', self, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    const lines: string[] = [];
    let text = '';
    let hung = false;
    const watch = (): NodeJS.Timeout =>
      setTimeout(() => {
        hung = true;
        process_.kill('SIGKILL');
      }, hangSeconds * 1e3);
    let timer = watch();
    createInterface({ input: process_.stdout }).on('line', (line) => {
      lines.push(line);
      clearTimeout(timer);
      timer = watch();
    });
    process_.stderr.on('data', (data) => {
      text += data;
    });
    process_.on('close', (code, signal) => {
      clearTimeout(timer);
      const failure = hung ? `no answer for ${hangSeconds} s` : code !== 0 && signal === null ? text.slice(-400) : null;
      resolve({ lines, signal, failure });
    });
  });
}

async function soakRow(site: string, kind: string): Promise<Row> {
  const { lines, failure, signal } = await child(['--child', `${site}:${kind}`, '--every', String(stride)]);
  const runs = lines.map((line) => JSON.parse(line) as Line);
  const complaints = runs.flatMap(({ k, complaints: all }) => all.map((one) => `k = ${k}: ${one}`));
  if (failure !== null) complaints.push(failure);
  if (signal !== null) complaints.push(`ended by ${signal}`);
  return {
    name: `${site}:${kind}`,
    runs: runs.length,
    reached: runs.at(-1)?.k ?? 0,
    untouched: runs.filter(({ errors }) => errors.length === 0).length,
    recovered: runs.filter(({ errors, completed }) => errors.length > 0 && completed).length,
    stopped: runs.filter(({ completed }) => !completed).length,
    complaints,
  };
}

async function killRow(site: string): Promise<Row> {
  const complaints: string[] = [];
  let runs = 0;
  let k = 1;
  for (; ; k = Math.ceil(k * 1.6)) {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'tierra-soak-kill-'));
    const { signal, failure } = await child(['--child', `${site}:kill`, '--out', `${k}:${folder}`]);
    runs++;
    const swap = path.join(folder, 'swap');
    const left = existsSync(swap) ? readdirSync(swap).filter((name) => name !== 'tierra-swap.lock') : [];
    if (left.length > 0) complaints.push(`k = ${k}: left in the swap folder: ${left}`);
    if (failure !== null) complaints.push(`k = ${k}: ${failure}`);
    if (signal === null) break;
    const next = await child(['--child', 'io.fsync:kill', '--out', `1:${folder}`]);
    if (next.signal !== null || next.failure !== null) complaints.push(`k = ${k}: the next run: ${next.failure}`);
    rmSync(folder, { recursive: true, force: true });
  }
  return {
    name: `${site}:kill`,
    runs,
    reached: k,
    untouched: 1,
    recovered: runs - 1,
    stopped: 0,
    complaints,
  };
}

function report(rows: readonly Row[], seconds: number): string {
  const total = rows.reduce((sum, { runs }) => sum + runs, 0);
  const bad = rows.flatMap(({ name, complaints }) => complaints.map((one) => `- ${name}, ${one}`));
  return [
    '# Fault loop',
    '',
    `Two layers, parameters and states on disk, three steps of which some are clipped, a checkpoint after the second.`,
    `The k-th pass of a site fails, once. Afterwards the step is begun anew: the run ends in the bits of an undisturbed`,
    'resident run (*recovered*), or stops with a clean error because an update was lost (*stopped*). After every run: no',
    'tensor and no arena is left, the swap folder is empty, the last checkpoint verifies byte by byte.',
    '',
    `${total} runs in ${Math.round(seconds)} s on ${os.cpus().length} × ${os.cpus()[0]!.model.trim()}${stride > 1 ? `; every ${stride}th k` : '; every k'}. Kills: k grows by 1.6; *recovered* counts next runs in the same folder that gave the oracle's bits.`,
    '',
    '| fault | runs | last k | untouched | recovered | stopped | complaints |',
    '|---|---|---|---|---|---|---|',
    ...rows.map(
      ({ name, runs, reached, untouched, recovered, stopped, complaints }) =>
        `| ${name} | ${runs} | ${reached} | ${untouched} | ${recovered} | ${stopped} | ${complaints.length} |`,
    ),
    '',
    ...(bad.length === 0 ? ['No complaints.'] : ['## Complaints', '', ...bad]),
    '',
  ].join('\n');
}

async function soak(): Promise<void> {
  const began = performance.now();
  const work: (() => Promise<Row>)[] = [
    ...faults.map(
      ({ site, kind }) =>
        () =>
          soakRow(site, kind),
    ),
    ...killed.map((site) => () => killRow(site)),
  ];
  const rows: Row[] = [];
  let taken = 0;
  const next = async (): Promise<void> => {
    for (;;) {
      const index = taken++;
      if (index >= work.length) return;
      const row = await work[index]!();
      rows[index] = row;
      console.log(`${row.name}: ${row.runs} runs, ${row.complaints.length} complaints`);
    }
  };
  await Promise.all(Array.from({ length: Number(flags.jobs) }, next));
  const day = new Date().toISOString().slice(0, 10);
  const out = flags.out ?? path.join(path.dirname(self), '..', 'bench', 'results', `${day}-soak.md`);
  writeFileSync(out, report(rows, (performance.now() - began) / 1e3));
  console.log(out);
  process.exitCode = rows.some(({ complaints }) => complaints.length > 0) ? 1 : 0;
}

if (flags.child === undefined) await soak();
else {
  const [site, kind] = flags.child.split(':') as [string, string];
  if (kind !== 'kill') await loop(site, kind);
  else {
    const [k, folder] = [flags.out!.slice(0, flags.out!.indexOf(':')), flags.out!.slice(flags.out!.indexOf(':') + 1)];
    await victim(site, Number(k), folder, oracle());
  }
  native().setFault(null);
}
