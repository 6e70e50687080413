/**
 * A run on 4 ranks that is killed, goes on on 2, is killed again and goes on on 3: each begins with the very state that the
 * checkpoint was written from, and trains on as one process would have.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { findNewest } from '../../src/engine/checkpoint/index.ts';
import { runRanks, startRanks } from './ranks.ts';
import { hashFile, type Leg, type LegResult, run } from './scripts/zeroResume.ts';

export interface ChainOutcome {
  /** `4 ranks to step 8, 2 to 14, 3 to 17`. */
  readonly text: string;
  readonly complaints: readonly string[];
}

const script = 'scripts/zeroResume.ts';
const tiers = { gpu: '1GiB', cpu: '1GiB', policy: 'static', static: { gpuParameters: 0.3 } } as const;

/** The losses of one process, for so many steps. */
export async function serialLosses(steps: number): Promise<readonly number[]> {
  const folder = mkdtempSync(path.join(tmpdir(), 'tierra-chain-serial-'));
  try {
    return (await run(null, { folder, parallel: {}, from: 0, steps })).losses;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Legs of at most `steps` steps each, all but the last killed: some rank, some step, a moment after it. */
export async function killedChain(
  sizes: readonly number[],
  steps: number,
  random: () => number,
  serial: readonly number[],
): Promise<ChainOutcome> {
  const folder = mkdtempSync(path.join(tmpdir(), 'tierra-chain-'));
  const complaints: string[] = [];
  const said: string[] = [];
  try {
    let from = 0;
    let before = 0;
    for (const [index, size] of sizes.entries()) {
      const leg: Leg = { folder, parallel: { zero: [3, 2, 1][index % 3]! }, memory: tiers, from, steps, saveEvery: 2 };
      const isLast = index === sizes.length - 1;
      if (isLast) await runRanks<LegResult>(size, script, { input: { ...leg, steps: 3 } });
      else await killedLeg(size, leg, random);
      if (from > 0) complaints.push(...loadedOtherwise(folder, before, from));
      const newest = (await findNewest(folder)).found?.step ?? 0;
      if (newest <= from) complaints.push(`no checkpoint after step ${from}`);
      [before, from] = [from, newest];
      said.push(`${size} ranks to step ${from}`);
    }
    for (const line of readFileSync(path.join(folder, 'losses.log'), 'utf8').trim().split('\n')) {
      const [step, loss] = line.split(' ').map(Number);
      const away = Math.abs(loss! - serial[step! - 1]!);
      if (!(away < 1e-10)) complaints.push(`the loss of step ${step} is ${away} away from that of one process`);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return { text: said.join(', '), complaints };
}

async function killedLeg(size: number, leg: Leg, random: () => number): Promise<void> {
  const ranks = startRanks(size, script, { input: leg, timeoutSeconds: 120 });
  // Behind the first checkpoint, so that there is one to go on from.
  await ranks.marked(0, `step ${3 + Math.floor(random() * (leg.steps - 4))}`);
  await new Promise((resolve) => setTimeout(resolve, random() * 30));
  const victim = ranks.children[Math.floor(random() * size)]!;
  victim.kill('SIGKILL');
  await ranks.ended;
}

/** What ranks loaded against what those held that wrote it, page by page. */
function loadedOtherwise(folder: string, before: number, step: number): string[] {
  const written = hashesIn(folder, before, step);
  const loaded = hashesIn(folder, step, step);
  const names = [...new Set([...Object.keys(written), ...Object.keys(loaded)])];
  if (names.length === 0) return [`nobody says what was loaded in step ${step}`];
  return names.filter((name) => written[name] !== loaded[name]).map((name) => `${name} of step ${step} is another`);
}

function hashesIn(folder: string, from: number, step: number): Record<string, string> {
  const found: Record<string, string> = {};
  for (let rank = 0; existsSync(hashFile(folder, from, step, rank)); rank++) {
    Object.assign(found, JSON.parse(readFileSync(hashFile(folder, from, step, rank), 'utf8')));
  }
  return found;
}
