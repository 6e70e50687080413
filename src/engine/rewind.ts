/** Back to the newest sound checkpoint of the run, in the middle of it. */
import type { Config } from '../config/index.ts';
import { TierraError } from '../core/errors.ts';
import type { DataPosition } from '../data/index.ts';
import type { BuiltModel } from '../models/index.ts';
import { findNewest } from './checkpoint/index.ts';
import type { Engine } from './engine.ts';
import { loadCheckpoint } from './loading.ts';

export interface Rewindable {
  // biome-ignore lint/suspicious/noExplicitAny: an engine of any model
  readonly engine: Engine<any, any, any>;
  readonly built: BuiltModel;
  readonly data: { restore(position: DataPosition): void | Promise<void> };
  readonly config: Pick<Config, 'train'>;
}

/**
 * Drops the step under way, loads the newest checkpoint in `train.output` that verifies, and takes the data back to where
 * they stood then: the run goes on as one resumed from it. Throws `E_CHECKPOINT` when there is none.
 */
export async function rewind({ engine, built, data, config }: Rewindable): Promise<{ step: number; path: string }> {
  const { output } = config.train;
  const { found } = await findNewest(output);
  if (found === undefined) {
    throw new TierraError('E_CHECKPOINT', `${output} has no sound checkpoint to go back to`, {
      hint: 'Save more often (train.saveEvery), or set train.nonFinite: skip.',
    });
  }
  engine.cancelStep();
  const { step, position } = loadCheckpoint(engine, found.path, built);
  await data.restore(position);
  return { step, path: found.path };
}
