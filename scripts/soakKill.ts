/**
 * SIGKILL at every named point and at random moments, at least 200 times, with parameters, states and checkpoints on all
 * tiers: `npm run soak:kill [-- --runs 200 --seed 1 --out file.md]` writes bench/results/<day>-soak-kill.md. Kills follow each other in one folder, so that
 * every run begins where the one before was killed.
 */
import { writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import {
  finishRun,
  type Kill,
  killOnce,
  killPoints,
  killText,
  newFolder,
  type Outcome,
  oracleLines,
  randomFrom,
  remove,
} from '../test/multi/killRuns.ts';
import { built, saveScenario } from '../test/native/checkpointRuns.ts';
import { measure } from '../test/native/tiersSupport.ts';

const { values: flags } = parseArgs({
  options: {
    runs: { type: 'string', default: '200' },
    seed: { type: 'string', default: '1' },
    out: { type: 'string' },
  },
});
const runs = Number(flags.runs);
const perFolder = 12;
const steps = 120;
const random = randomFrom(Number(flags.seed));

/** One kill in three at a random moment, the others through all points in turn. */
function planned(): Kill[] {
  let point = 0;
  return Array.from({ length: runs }, (_, index): Kill => {
    if (index % 3 === 2) return { at: 'random', afterMs: 20 + random() * 900 };
    const [site, most] = killPoints[point++ % killPoints.length]!;
    return { at: 'point', site, k: 1 + Math.floor(random() * most) };
  });
}

interface Row {
  readonly name: string;
  runs: number;
  killed: number;
  complaints: number;
}

async function soak(): Promise<void> {
  const began = performance.now();
  const day = new Date().toISOString().slice(0, 10);
  const out = flags.out ?? path.join(import.meta.dirname, '..', 'bench', 'results', `${day}-soak-kill.md`);
  const bytes = measure(saveScenario(built(), 'out', 'bf16'));
  const oracle = await oracleLines(steps);
  const outcomes: Outcome[] = [];
  const complaints: string[] = [];
  const kills = planned();
  for (let first = 0; first < kills.length; first += perFolder) {
    const folder = newFolder(bytes);
    for (const kill of kills.slice(first, first + perFolder)) {
      const outcome = await killOnce(folder, steps, kill, oracle);
      outcomes.push(outcome);
      for (const text of outcome.complaints) complaints.push(`run ${outcomes.length}, ${killText(kill)}: ${text}`);
      console.log(
        `${outcomes.length}/${runs} ${killText(kill)}: ${outcome.killed ? 'killed' : 'ended'}, from step ${outcome.from}${outcome.complaints.length > 0 ? `: ${outcome.complaints.join('; ')}` : ''}`,
      );
    }
    for (const text of await finishRun(folder, steps, oracle)) complaints.push(`after run ${outcomes.length}: ${text}`);
    remove(folder);
    // After every folder, so that a loop that is stopped leaves what it has found.
    writeFileSync(out, report(outcomes, complaints, (performance.now() - began) / 1e3));
  }
  console.log(out);
  process.exitCode = complaints.length > 0 ? 1 : 0;
}

function report(outcomes: readonly Outcome[], complaints: readonly string[], seconds: number): string {
  const rows = new Map<string, Row>();
  for (const { kill, killed, complaints: mine } of outcomes) {
    const name = kill.at === 'point' ? kill.site : 'random moment';
    const row = rows.get(name) ?? { name, runs: 0, killed: 0, complaints: 0 };
    rows.set(name, row);
    row.runs++;
    if (killed) row.killed++;
    row.complaints += mine.length;
  }
  const killed = outcomes.filter((outcome) => outcome.killed).length;
  return [
    '# Kills',
    '',
    `Three layers, bf16 with fp32 masters, parameters and states on disk beside a tight GPU budget (RAM stands in for it) and a`,
    `host budget just above the least, a checkpoint begun after every second step with a buffer of 100 KiB and written behind`,
    `training. Each process is killed with SIGKILL and the next goes on in the same folder; after ${perFolder} of them one runs to step ${steps}.`,
    'Every line of every process (losses of both micro-batches and gradient norm, all bits) must be that of an undisturbed resident',
    'run, the hash of all weights and states at the end too; each process must begin at the newest checkpoint that was complete when the',
    'one before died; nothing may be left in the swap folder, and no half-written checkpoint at the end.',
    '',
    `${outcomes.length} runs, ${killed} of them killed (the others ended before the point was reached), ${rows.size - 1} named points and random moments, in ${Math.round(seconds)} s on ${os.cpus().length} × ${os.cpus()[0]!.model.trim()}; seed ${flags.seed}.`,
    '',
    '| point | runs | killed | complaints |',
    '|---|---|---|---|',
    ...[...rows.values()].map((row) => `| ${row.name} | ${row.runs} | ${row.killed} | ${row.complaints} |`),
    '',
    ...(complaints.length === 0 ? ['No complaints.'] : ['## Complaints', '', ...complaints.map((one) => `- ${one}`)]),
    '',
  ].join('\n');
}

await soak();
