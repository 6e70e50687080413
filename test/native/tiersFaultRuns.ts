/** A short run with parameters and states on disk in which the k-th operation of one kind fails. */
import { existsSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { isTierraError, type TierraError } from '../../src/core/errors.ts';
import { findNewest } from '../../src/engine/checkpoint/index.ts';
import { saveCheckpoint } from '../../src/engine/saving.ts';
import { type BuiltModel, buildModel } from '../../src/models/index.ts';
import { native } from '../../src/native/load.ts';
import { type ModelBytes, placementNamed } from '../cases/placements.ts';
import { hashesOf, measure, type Scenario, start, trainStep, withFolder } from './tiersSupport.ts';

export interface Fault {
  readonly site: string;
  readonly kind: string;
}

const anyError = ['EIO', 'ENOSPC', 'EINTR', 'EAGAIN'];
const kindsOf: Readonly<Record<string, readonly string[]>> = {
  'io.read': [...anyError, 'short'],
  'io.write': [...anyError, 'short'],
  'io.setup': [...anyError, 'EPERM'],
  'io.register': [...anyError, 'ENOMEM'],
};

/** Every site that this build passes, with every kind that can happen there. `io.fsync` and CUDA's are not on this path. */
export const faults: readonly Fault[] = [
  'io.setup',
  'io.register',
  'io.reserve',
  'io.read',
  'io.write',
  'arena.map',
  'lane.copy',
  'lane.update',
].flatMap((site) => (kindsOf[site] ?? anyError).map((kind) => ({ site, kind })));

export const built = (): BuiltModel =>
  buildModel({
    architecture: 'gpt2',
    config: { vocab_size: 61, n_positions: 32, n_embd: 16, n_layer: 2, n_head: 2, resid_pdrop: 0.1 },
  });

/** What `npm test` has time for: the kinds that differ. */
export const fewFaults = faults.filter(
  ({ site, kind }) => kind === 'EIO' || kind === 'short' || (site === 'io.write' && kind === 'EAGAIN'),
);

/** Two layers; some steps are clipped, so that guessed updates are made again. */
export function faultScenario(model: BuiltModel = built()): Scenario {
  return {
    name: 'two layers',
    config: { optimizer: { learningRate: 1e-2 }, train: { clipNorm: 1.2 } },
    model: () => model.model,
    chunkSize: 4096,
    steps: 3,
  };
}

/** The same with activations parked on disk, so that they pass every site too. */
const parking = (plain: Scenario, folder: string): Scenario => ({
  ...plain,
  config: { ...plain.config, memory: { activations: 'nvme', nvme: { path: folder, size: '1GiB' } } },
});

export interface Oracle {
  readonly bytes: ModelBytes;
  readonly seen: string;
}

/** What an undisturbed run gives: everything resident. */
export function oracle(): Oracle {
  const scenario = faultScenario();
  const engine = start(scenario, {});
  try {
    const steps = Array.from({ length: scenario.steps }, () => trainStep(engine));
    if (new Set(steps.map(({ clipFactor }) => clipFactor < 1)).size !== 2)
      throw new Error(`clip some steps, not all: ${steps.map(({ norm }) => norm)}`);
    const bytes = withFolder((folder) => measure(parking(faultScenario(), folder)));
    return { bytes, seen: JSON.stringify([steps, hashesOf(engine)]) };
  } finally {
    engine.dispose();
  }
}

export interface FaultOutcome {
  /** The k-th pass of the site happened. */
  readonly hit: boolean;
  /** Errors seen, in order: the first one, and what going on met. */
  readonly errors: readonly TierraError[];
  /** Bit for bit the oracle's. */
  readonly completed: boolean;
  /** Broken promises; empty when all is well. */
  readonly complaints: readonly string[];
}

/**
 * Trains with a checkpoint after the second step while `fault` strikes once. After an error the step is begun anew, once:
 * either the run then ends in the oracle's bits, or the next error is a clean one too.
 */
export async function runWithFault(
  { site, kind }: Fault,
  k: number,
  { bytes, seen }: Oracle,
  folder: string,
): Promise<FaultOutcome> {
  const before = { tensors: native().liveTensors(), arenas: native().liveArenas() };
  const model = built();
  const scenario = parking(faultScenario(model), path.join(folder, 'swap'));
  const output = path.join(folder, `run-${site}-${kind}-${k}`);
  const placed = placementNamed('parameters and states mostly on disk').memory(bytes, path.join(folder, 'swap'));
  const withOutput = { ...scenario, config: { ...scenario.config, train: { ...scenario.config.train, output } } };
  const engine = start(withOutput, placed);
  const errors: TierraError[] = [];
  const complaints: string[] = [];
  const steps: unknown[] = [];
  let completed = false;
  let saved = false;
  const save = async (): Promise<void> => {
    const { config } = engine.context;
    await saveCheckpoint(engine, { built: model, config, totalSteps: scenario.steps }, {} as never);
    saved = true;
  };
  native().setFault(`${site}:${kind}@k=${k}`);
  for (let attempt = 0; attempt < 2 && !completed; attempt++) {
    try {
      while (steps.length < scenario.steps) {
        steps.push(trainStep(engine));
        if (steps.length === 2) await save();
      }
      if (!saved) await save();
      completed = true;
      if (JSON.stringify([steps, hashesOf(engine)]) !== seen) complaints.push('the bits are not the oracle’s');
    } catch (error) {
      completed = false;
      if (isTierraError(error)) errors.push(error);
      else {
        complaints.push(`not a clean error: ${String(error)}`);
        break;
      }
    }
  }
  const hit = native().faultHits(site) >= k;
  native().setFault(null);
  engine.dispose();
  const after = { tensors: native().liveTensors(), arenas: native().liveArenas() };
  if (JSON.stringify(after) !== JSON.stringify(before))
    complaints.push(`left behind: ${JSON.stringify({ before, after })}`);
  const left = namesIn(path.join(folder, 'swap'));
  if (left.length > 0) complaints.push(`in the swap folder: ${left}`);
  for (const error of errors) complaints.push(...complaintsAbout(error, site));
  if (saved) complaints.push(...(await checkpointComplaints(output)));
  rmSync(output, { recursive: true, force: true });
  return { hit, errors, completed, complaints };
}

/** A swap folder is made by the swap: a run that failed earlier has none. */
const namesIn = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder) : []);

/** A message says which file, or which chunk, or what was asked for. */
function complaintsAbout(error: TierraError, site: string): string[] {
  const { code, message } = error;
  const expected = site.startsWith('io.') ? /tierra-swap|io_uring|swap/ : /chunk \d+|map|memory|reserve/i;
  const known = ['E_IO', 'E_OUT_OF_MEMORY', 'E_UNSUPPORTED'].includes(code);
  return known && expected.test(message) ? [] : [`${code}: ${message}`];
}

async function checkpointComplaints(output: string): Promise<string[]> {
  const { found, passedOver } = await findNewest(output);
  return found !== undefined && passedOver.length === 0 ? [] : ['the last checkpoint is not intact'];
}
