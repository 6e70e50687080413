/**
 * SIGKILL of ranks at random moments, 50 times, on 2 to 4 ranks with ZeRO and tiers, then chains of 4, 2 and 3 ranks:
 * `npm run soak:ranks [-- --kills 50 --chains 6 --seed 1 --minutes 5 --out file.md]`. Writes bench/results/<day>-soak-ranks.md and, beside it while it
 * is not done, what is known so far: called again it goes on from there, so that a shared machine can be given in portions.
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { randomFrom } from '../test/multi/killRuns.ts';
import { type ChainOutcome, killedChain, serialLosses } from '../test/multi/rankChains.ts';
import { type KillOutcome, killRanks, type RankKill, type RankSetup, undisturbed } from '../test/multi/rankKills.ts';

const { values: flags } = parseArgs({
  options: {
    kills: { type: 'string', default: '50' },
    chains: { type: 'string', default: '6' },
    seed: { type: 'string', default: '1' },
    minutes: { type: 'string', default: '1000' },
    out: { type: 'string' },
  },
});

const setups: readonly RankSetup[] = [
  { name: '2 ranks, ZeRO 3, parameters and states also on disk', ranks: 2, zero: 3, tiers: 'disk' },
  { name: '3 ranks, ZeRO 1, host memory', ranks: 3, zero: 1, tiers: 'host' },
  { name: '4 ranks, ZeRO 3, host memory', ranks: 4, zero: 3, tiers: 'host' },
  { name: '3 ranks, ZeRO 2, parameters and states also on disk', ranks: 3, zero: 2, tiers: 'disk' },
  { name: '4 ranks, plain data parallelism, resident', ranks: 4, zero: 0, tiers: 'none' },
];
const steps = 60;
const perJob = 5;
const chainSteps = 14;

interface Row extends KillOutcome {
  readonly setup: string;
}
interface Known {
  seconds: number;
  readonly kills: Row[];
  /** Of whole jobs. */
  readonly complaints: string[];
  jobs: number;
  readonly chains: ChainOutcome[];
}

const day = new Date().toISOString().slice(0, 10);
const out = flags.out ?? path.join(import.meta.dirname, '..', 'bench', 'results', `${day}-soak-ranks.md`);
const knownFile = `${out}.json`;

/** One in five while ranks load and meet, the others from the first step on. */
function plannedFor(setup: RankSetup, random: () => number): RankKill[] {
  return Array.from({ length: perJob }, () => {
    const rank = Math.floor(random() * setup.ranks);
    const starting = random() < 0.2;
    return { rank, from: starting ? 'start' : 'step', afterMs: random() * (starting ? 3000 : 1200) };
  });
}

async function soak(): Promise<void> {
  const known: Known = existsSync(knownFile)
    ? JSON.parse(readFileSync(knownFile, 'utf8'))
    : { seconds: 0, kills: [], complaints: [], jobs: 0, chains: [] };
  const began = performance.now();
  const before = known.seconds;
  const [wantedKills, wantedChains] = [Number(flags.kills), Number(flags.chains)];
  const killed = (): number => known.kills.filter((one) => one.killed).length;
  const isDone = (): boolean => killed() >= wantedKills && known.chains.length >= wantedChains;
  const save = (): void => {
    known.seconds = before + (performance.now() - began) / 1e3;
    writeFileSync(out, report(known));
    if (isDone()) rmSync(knownFile, { force: true });
    else writeFileSync(knownFile, JSON.stringify(known));
  };
  const hasTime = (): boolean => (performance.now() - began) / 60e3 < Number(flags.minutes);
  while (killed() < wantedKills && hasTime()) {
    const setup = setups[known.jobs % setups.length]!;
    const random = randomFrom(Number(flags.seed) * 1000 + known.jobs);
    const { outcomes, complaints } = await killRanks(
      setup,
      steps,
      plannedFor(setup, random),
      await undisturbed(setup, steps),
    );
    known.jobs++;
    known.kills.push(...outcomes.map((outcome) => ({ ...outcome, setup: setup.name })));
    known.complaints.push(...complaints.map((text) => `job ${known.jobs}, ${setup.name}: ${text}`));
    for (const { kill, goneMs, witnesses, complaints: mine, killed: was } of outcomes) {
      const end = was ? `gone in ${Math.round(goneMs)} ms, ${witnesses} witnesses` : 'ended before';
      console.log(
        `${setup.name}: rank ${kill.rank}, ${Math.round(kill.afterMs)} ms from ${kill.from}: ${end} ${mine.join('; ')}`,
      );
    }
    for (const text of complaints) console.log(text);
    save();
  }
  if (known.chains.length < wantedChains && hasTime()) {
    const serial = await serialLosses(3 * chainSteps);
    while (known.chains.length < wantedChains && hasTime()) {
      const random = randomFrom(Number(flags.seed) * 1000 + 500 + known.chains.length);
      const outcome = await killedChain([4, 2, 3], chainSteps, random, serial);
      known.chains.push(outcome);
      console.log(
        `${outcome.text}: ${outcome.complaints.length === 0 ? 'as one process' : outcome.complaints.join('; ')}`,
      );
      save();
    }
  }
  const bad =
    known.complaints.length + [...known.kills, ...known.chains].filter((one) => one.complaints.length > 0).length;
  console.log(isDone() ? out : `${killed()} kills and ${known.chains.length} chains so far`);
  process.exitCode = bad > 0 ? 1 : 0;
}

function report({ kills, complaints, chains, jobs, seconds }: Known): string {
  const killed = kills.filter((one) => one.killed);
  const rows = setups.map(({ name, ranks }) => {
    const own = killed.filter(({ setup }) => setup === name);
    const ms = own.map(({ goneMs }) => goneMs).sort((a, b) => a - b);
    const witnesses = own.filter(({ kill }) => kill.from === 'step').reduce((sum, one) => sum + one.witnesses, 0);
    const possible = own.filter(({ kill }) => kill.from === 'step').length * (ranks - 1);
    const times = ms.length === 0 ? '' : `${Math.round(ms[ms.length >> 1]!)} / ${Math.round(ms.at(-1)!)}`;
    const starting = own.filter(({ kill }) => kill.from === 'start').length;
    return `| ${name} | ${own.length} | ${starting} | ${times} | ${witnesses} of ${possible} |`;
  });
  const all = [
    ...complaints,
    ...kills.flatMap(({ setup, kill, complaints: mine }) => mine.map((text) => `${setup}, rank ${kill.rank}: ${text}`)),
    ...chains.flatMap(({ text, complaints: mine }) => mine.map((one) => `${text}: ${one}`)),
  ];
  return [
    '# Kills of ranks',
    '',
    '`tierra run -n N --restarts K config.yaml` trains a small GPT-2 (two layers, width 48, dropout, clipping, two micro-batches a',
    'step, a checkpoint after every third step) over Gloo; one rank after another gets SIGKILL, and the launcher starts the job again from the',
    'last checkpoint. Of the other ranks: all must be gone within 15 s; the launcher must name the killed rank as the one that failed, and no rank may',
    'blame another. At the end of a job the losses of all steps, as printed, and every byte of model and optimizer in the last checkpoint must be',
    'those of an undisturbed run on as many ranks.',
    '',
    `${killed.length} kills in ${jobs} jobs and ${chains.length} chains in ${Math.round(seconds / 60)} minutes, on two cores of a shared machine; seed ${flags.seed}.`,
    '',
    '| ranks | kills | of them while ranks meet | others gone after, median / slowest, ms | others that named the killed rank themselves, in training |',
    '|---|---|---|---|---|',
    ...rows,
    '',
    'A rank that does not name the killed one itself was ended by the launcher first, which names it.',
    '',
    '## 4, then 2, then 3 ranks',
    '',
    'In fp64, with ZeRO 3, 2 and 1 and parameters in host memory; the first two legs end with a SIGKILL. What a leg loads has the hashes, page by page of',
    '4096 elements of weights and moments, of what the ranks before held when they saved it; all losses are those of one process within 1e-10.',
    '',
    ...chains.map(({ text, complaints: mine }) => `- ${text}: ${mine.length === 0 ? 'equal' : 'complaints below'}`),
    '',
    ...(all.length === 0 ? ['No complaints.'] : ['## Complaints', '', ...all.map((one) => `- ${one}`)]),
    '',
  ].join('\n');
}

await soak();
