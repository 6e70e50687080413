/**
 * SIGKILL at every named point and at random moments, at least 200 times, with parameters, states and checkpoints on all
 * tiers: `npm run soak:kill [-- --runs 200 --seed 1 --out file.md]` writes bench/results/<day>-soak-kill.md. Kills follow each other in one folder, so that
 * every run begins where the one before was killed. With `--state file.jsonl --minutes 5` it stops after the folder in which the minutes
 * are over, and the same command goes on from there.
 */
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
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
    state: { type: 'string' },
    minutes: { type: 'string', default: 'Infinity' },
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
  const folders = earlier();
  const kills = planned();
  for (let first = folders.length * perFolder; first < kills.length; first += perFolder) {
    if (performance.now() - began > Number(flags.minutes) * 60e3) break;
    const folderBegan = performance.now();
    const folder = newFolder(bytes);
    const outcomes: Outcome[] = [];
    const complaints: string[] = [];
    for (const kill of kills.slice(first, first + perFolder)) {
      const outcome = await killOnce(folder, steps, kill, oracle);
      outcomes.push(outcome);
      const number = first + outcomes.length;
      for (const text of outcome.complaints) complaints.push(`run ${number}, ${killText(kill)}: ${text}`);
      console.log(
        `${number}/${runs} ${killText(kill)}: ${outcome.killed ? 'killed' : 'ended'}, from step ${outcome.from}${outcome.complaints.length > 0 ? `: ${outcome.complaints.join('; ')}` : ''}`,
      );
    }
    for (const text of await finishRun(folder, steps, oracle))
      complaints.push(`after run ${first + outcomes.length}: ${text}`);
    remove(folder);
    // After every folder, so that a loop that is stopped leaves what it has found.
    folders.push({ outcomes, complaints, seconds: (performance.now() - folderBegan) / 1e3 });
    if (flags.state !== undefined) appendFileSync(flags.state, `${JSON.stringify(folders.at(-1))}\n`);
    writeFileSync(out, report(folders));
  }
  console.log(out);
  process.exitCode = folders.some(({ complaints }) => complaints.length > 0) ? 1 : 0;
}

/** What one folder showed. */
interface Folder {
  readonly outcomes: readonly Outcome[];
  readonly complaints: readonly string[];
  readonly seconds: number;
}

/** Folders of earlier batches: the kills are planned from the seed, so the next batch knows where to go on. */
function earlier(): Folder[] {
  if (flags.state === undefined || !existsSync(flags.state)) return [];
  const lines = readFileSync(flags.state, 'utf8').trim().split('\n');
  return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as Folder);
}

function report(folders: readonly Folder[]): string {
  const outcomes = folders.flatMap((folder) => folder.outcomes);
  const complaints = folders.flatMap((folder) => folder.complaints);
  const seconds = folders.reduce((sum, folder) => sum + folder.seconds, 0);
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
