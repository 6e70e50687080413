/** What `tierra train` hangs into the loop for its checkpoints. */
import { formatError } from '../core/errors.ts';
import type { DataPosition } from '../data/index.ts';
import type { Progress } from '../telemetry/index.ts';
import { Checkpointer } from './checkpointer.ts';
import type { Engine } from './engine.ts';
import type { Hook } from './hooks.ts';
import type { SaveContext } from './saving.ts';
import { shown } from './shownPath.ts';
import { beat } from './watchdog.ts';

export interface Checkpointing {
  readonly hook: Hook;
  readonly checkpointer: Checkpointer;
  /** The last checkpoint that has its name, or null. */
  readonly last: () => string | null;
}

/**
 * Saves every `train.saveEvery` steps, at the end, and where training is stopped. A save that fails while training goes on is a
 * warning; the last one must not fail.
 */
export function checkpointing(
  // biome-ignore lint/suspicious/noExplicitAny: an engine of any model
  engine: Engine<any, any, any>,
  context: SaveContext,
  data: { position(): DataPosition },
  progress: Progress,
): Checkpointing {
  const { config, totalSteps } = context;
  let last: string | null = null;
  let begun = -1;
  let loss: number | undefined;
  const checkpointer = new Checkpointer(engine, context, {
    saved({ step, written, blockedMs, totalMs }) {
      last = shown(written.path);
      for (const warning of written.warnings) progress.warn(warning);
      const seconds = { seconds: totalMs / 1e3, blockedSeconds: blockedMs / 1e3 };
      progress.saved({ step, path: last, bytes: written.bytes, ...seconds });
    },
    failed(error, step) {
      const text = formatError(error).replaceAll('\n', ' ');
      progress.warn(text, { kind: 'warning', step });
    },
  });
  const save = async (): Promise<void> => {
    if (begun === engine.steps || engine.steps === 0) return;
    beat(`checkpoint of step ${engine.steps}`);
    begun = engine.steps;
    await checkpointer.save(data.position(), loss);
  };
  const hook: Hook = {
    beforeTrain() {
      const { saveEvery } = config.train;
      if (saveEvery === null) return;
      noteSynchronous(checkpointer, progress);
      const next = engine.steps - (engine.steps % saveEvery) + saveEvery;
      if (next < totalSteps) checkpointer.prepare();
    },
    async afterStep(_trainer, summary) {
      loss = summary.loss;
      const { saveEvery } = config.train;
      if (summary.step === totalSteps || (saveEvery !== null && summary.step % saveEvery === 0)) await save();
    },
    async afterTrain() {
      await save();
      beat('waiting for the last checkpoint');
      await checkpointer.finish();
    },
  };
  return { hook, checkpointer, last: () => last };
}

function noteSynchronous(checkpointer: Checkpointer, progress: Progress): void {
  const reason = checkpointer.synchronous;
  if (reason === null) return;
  progress.note(`checkpoints hold training up until they are written: ${reason}`);
}
