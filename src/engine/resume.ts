/** Where a run begins: at the newest checkpoint, at a given one, or afresh. */
import { existsSync, renameSync } from 'node:fs';
import type { Config } from '../config/index.ts';
import { isTierraError, TierraError } from '../core/errors.ts';
import { withIo } from '../core/files.ts';
import type { BatchSource } from '../data/index.ts';
import { restartsSoFar } from '../dist/launch/restarts.ts';
import type { BuiltModel } from '../models/index.ts';
import type { Progress } from '../telemetry/index.ts';
import { onAllRanks, onFirstRank } from './agreement.ts';
import { findNewest, listCheckpoints, type Manifest, removeLeftovers, verifyCheckpoint } from './checkpoint/index.ts';
import { checkpointsFolder } from './checkpoint/names.ts';
import { changesBetween, deepChanges } from './differences.ts';
import type { Engine } from './engine.ts';
import { type LoadedCheckpoint, loadCheckpoint } from './loading.ts';
import { shown } from './shownPath.ts';

export interface Resumable {
  readonly config: Config;
  readonly built: BuiltModel;
  readonly data: BatchSource;
  readonly totalSteps: number;
  // biome-ignore lint/suspicious/noExplicitAny: an engine of any model
  readonly engine: Engine<any, any, any>;
  readonly progress: Progress;
}

/** Continues as `train.resume` says; resolves to the checkpoint's folder, or null for a run that starts afresh. */
export async function resume(run: Resumable): Promise<string | null> {
  const { engine, config, built } = run;
  const folder = await onFirstRank(engine.ranks.everyone, () => choose(run));
  if (folder === null) return null;
  const loaded = await onAllRanks(engine.ranks.everyone, () => loadCheckpoint(engine, folder, built));
  checkNothingLater(config.train.output, folder, loaded.step);
  restoreData(run, folder, loaded);
  noteChanges(run, loaded.manifest);
  noteSchedule(run, loaded.manifest);
  return folder;
}

async function choose({ config, progress }: Resumable): Promise<string | null> {
  const { output, resume: wanted } = config.train;
  for (const { path: leftover, reason } of removeLeftovers(output)) {
    progress.note(`${shown(leftover)}: ${reason}`, { kind: 'fault' });
  }
  const restarted = restartsSoFar(process.env) > 0;
  if (wanted === 'never' && !restarted) {
    setAside(output, progress);
    return null;
  }
  return startingPoint(wanted, restarted, output, progress);
}

/** A run that its launcher has started again goes on from what it has saved itself, wherever it began. */
async function startingPoint(
  wanted: string,
  restarted: boolean,
  output: string,
  progress: Progress,
): Promise<string | null> {
  const own = wanted === 'auto' || restarted ? await newest(output, progress) : null;
  if (own !== null || wanted === 'auto' || wanted === 'never') return own;
  return (await verifyCheckpoint(wanted)).path;
}

async function newest(output: string, progress: Progress): Promise<string | null> {
  const { found, passedOver } = await findNewest(output);
  for (const { path: passed, reason } of passedOver)
    progress.warn(`passed over ${shown(passed)}: ${reason}`, { kind: 'fault' });
  return found?.path ?? null;
}

/** A run that starts afresh must neither mix with an earlier one's checkpoints nor destroy them. */
function setAside(output: string, progress: Progress): void {
  if (listCheckpoints(output).length === 0) return;
  const folder = checkpointsFolder(output);
  let number = 1;
  while (existsSync(`${folder}.${number}`)) number++;
  withIo('rename', folder, () => renameSync(folder, `${folder}.${number}`));
  progress.note(`starting afresh; the checkpoints of the run before are now in ${shown(`${folder}.${number}`)}`);
}

/** Found at the start rather than at the first save that would meet them. */
function checkNothingLater(output: string, folder: string, step: number): void {
  const later = listCheckpoints(output).filter((each) => each.state === 'complete' && each.step > step);
  if (later.length === 0) return;
  throw new TierraError(
    'E_CHECKPOINT',
    `train.resume: ${shown(folder)} is of step ${step}, and ${shown(output)} holds later steps already: ${later.map((each) => each.step).join(', ')}`,
    { hint: 'Give train.output another folder, so that the two runs do not mix.' },
  );
}

function restoreData({ config, data }: Resumable, folder: string, { position, manifest }: LoadedCheckpoint): void {
  try {
    data.restore(position);
  } catch (error) {
    if (!isTierraError(error, 'E_DATA')) throw error;
    const saved = manifest.config as { readonly data?: Record<string, unknown>; readonly seed?: number };
    const { cache: _, ...section } = config.data;
    const changes = changesBetween({ seed: saved.seed }, { seed: config.seed }).concat(
      changesBetween(saved.data ?? {}, section, 'data.'),
    );
    const what = changes.length > 0 ? changes.join('; ') : 'the settings are the same, the content of the files is not';
    throw new TierraError('E_DATA', `${shown(folder)} was trained on other data: ${what}`, {
      hint: 'Give the data and settings of that run, or start afresh with train.resume: never; its weights alone can be used with model.path.',
      details: { ...error.details, changes },
      cause: error,
    });
  }
}

/** Settings that change from one start to the next by themselves, or that say where and not what. */
const unsaid = /^(train\.(resume|output|logEvery)|data\.cache|runtime\.|record\b)/;
const mostChanges = 12;

/** Another configuration is allowed, and said: what it does to the run is for a person to judge. */
function noteChanges({ config, progress }: Resumable, { config: saved }: Manifest): void {
  const changes = deepChanges(saved as Record<string, unknown>, { ...config }).filter((change) => !unsaid.test(change));
  if (changes.length === 0) return;
  const more = changes.length > mostChanges ? ` and ${changes.length - mostChanges} more` : '';
  const text = `settings changed since the checkpoint: ${changes.slice(0, mostChanges).join('; ')}${more}`;
  progress.note(text, { kind: 'resume', details: { changes } });
}

function noteSchedule({ totalSteps, progress }: Resumable, { schedule }: Manifest): void {
  const before = (schedule as { readonly totalSteps?: unknown } | null)?.totalSteps;
  if (typeof before !== 'number' || before === totalSteps) return;
  progress.note(`the run is ${totalSteps} steps long now, ${before} before: the learning rate follows the new length`);
}

/** What to say when there is nothing left to train. */
export function finishedText({ config, totalSteps }: Resumable, folder: string): string {
  const { name, sample, train } = config;
  const prompt = JSON.stringify(sample.prompt.split('\n')[0] || 'Once');
  return [
    `${name} has done its ${totalSteps} steps already: ${shown(folder)}`,
    `  to go on:          the same command with --set train.steps=${2 * totalSteps}`,
    '  to start afresh:   the same command with --set train.resume=never',
    `  to hear more:      npx tierra generate ${shown(train.output)} --prompt ${prompt}`,
  ].join('\n');
}
