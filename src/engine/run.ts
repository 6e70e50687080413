/** `tierra train`: from a resolved configuration to a trained model on disk. */
import type { Config } from '../config/index.ts';
import { isTierraError, TierraError } from '../core/errors.ts';
import { hostMemory } from '../core/hostMemory.ts';
import { BatchSource, prepareCorpus, type TokenDataset, type Tokenizer } from '../data/index.ts';
import { type BuiltModel, buildModel, type LanguageModel, valuesFor } from '../models/index.ts';
import { type Progress, type RunRecord, rankProgress } from '../telemetry/index.ts';
import { scope, type Tensor } from '../tensor/index.ts';
import { checkpointing } from './checkpointing.ts';
import { checkFits, corpusOptions, tokenizerFor, withVocabulary } from './corpus.ts';
import type { Engine } from './engine.ts';
import { sampleText } from './generate.ts';
import type { Hook } from './hooks.ts';
import { initialize } from './initialize.ts';
import { languageTask, tokenTensors } from './languageTask.ts';
import { type Context, launch } from './launch.ts';
import { hostNeed, memoryWarning } from './memoryWarning.ts';
import { type Observation, observe } from './observing.ts';
import { dataRanks } from './ranks.ts';
import { type Recording, reasonOf, recordingSteps, startRecording } from './recording.ts';
import { finishedText, resume } from './resume.ts';
import { rewind } from './rewind.ts';
import { shown } from './shownPath.ts';
import { checkBlocks, underTensorParallel } from './tensorParallel.ts';
import { totalStepsOf } from './totalSteps.ts';
import { type Recovery, Trainer } from './trainer.ts';
import { evaluating, reporting } from './trainingHooks.ts';
import { watchRun } from './watchdog.ts';

export interface TrainingIo {
  readonly progress: Progress;
  /** Aborted to stop cleanly after the current step. */
  readonly signal: AbortSignal;
}

type LanguageEngine = Engine<Parameters<LanguageModel['call']>[0], Tensor>;

/** Everything a run needs, opened and checked. */
interface Run {
  readonly config: Config;
  readonly context: Context;
  readonly tokenizer: Tokenizer;
  readonly built: BuiltModel;
  readonly validation: TokenDataset | null;
  readonly data: BatchSource;
  readonly totalSteps: number;
  readonly record: RunRecord;
}

/** Trains as `config` says: data, model, resume, steps, evaluation, checkpoints, a sample at the end. */
export async function runTraining(config: Config, io: TrainingIo): Promise<void> {
  const { signal } = io;
  const context = launch(config);
  using recording = startRecording(context, io.progress, signal);
  try {
    await trainRecorded(context, recording, signal);
  } catch (error) {
    const outcome = isTierraError(error, 'E_INTERRUPTED') ? 'interrupted' : 'failed';
    recording.record.finish(outcome, reasonOf(error));
    throw error;
  }
}

async function trainRecorded(context: Context, recording: Recording, signal: AbortSignal): Promise<void> {
  const began = performance.now();
  const { config } = context;
  using _watch = watchRun(config.runtime.watchdog);
  const memoryBefore = hostMemory();
  const { record } = recording;
  const ranks = dataRanks(context);
  const { everyone } = ranks;
  const progress = everyone.rank === 0 ? recording.progress : rankProgress(recording.progress, everyone.rank);
  checkBlocks(context, ranks.rows.size);
  const tokenizer = await tokenizerFor(config.data.tokenizer);
  const built = underTensorParallel(context, () => describedModel(config, tokenizer));
  const corpus = await prepareCorpus(corpusOptions(config, tokenizer, (text) => progress.note(text), signal));
  try {
    const data = new BatchSource(corpus.train, {
      batchSize: config.train.batchSize,
      seed: config.seed,
      shuffle: config.data.shuffle,
      rank: ranks.rows.rank,
      ranks: ranks.rows.size,
    });
    const totalSteps = totalStepsOf(config, data.batchesPerEpoch);
    const run: Run = { config, context, tokenizer, built, validation: corpus.validation, data, totalSteps, record };
    using observation = observe(config, progress, everyone.rank);
    using engine = await startEngine(run, corpus.train, observation);
    const tooMuch = memoryWarning(hostNeed(engine.store, context.device), memoryBefore, config);
    if (tooMuch !== null) progress.warn(tooMuch, { kind: 'memory' });
    const resumable = { ...run, engine, progress };
    const from = await resume(resumable);
    if (from !== null && engine.steps >= totalSteps) {
      progress.note(finishedText(resumable, from));
      return;
    }
    if (from !== null) progress.note(`continuing from ${shown(from)} (step ${engine.steps})`, { kind: 'resume' });
    const path = await train(run, engine, from, progress, signal);
    const outcome = engine.steps >= totalSteps ? 'completed' : 'interrupted';
    if (outcome === 'completed') await showSample(run, engine, progress, signal);
    else progress.note('the same command goes on from here');
    observation.summarize(engine.store);
    progress.finish({ outcome, step: engine.steps, seconds: (performance.now() - began) / 1e3, path });
  } finally {
    corpus.dispose();
  }
}

function describedModel(config: Config, tokenizer: Tokenizer): BuiltModel {
  if (config.model === null) {
    throw new TierraError('E_CONFIG', 'model: nothing to train', {
      hint: 'Give model.preset, model.path or model.architecture; a script with a model of its own calls initialize(…) instead.',
    });
  }
  const built = buildModel(withVocabulary(config.model, tokenizer));
  checkFits(built, tokenizer, config.data.sequenceLength);
  return built;
}

/** The parameters get their places and first values now, so that a checkpoint can be loaded into them. */
async function startEngine(run: Run, dataset: TokenDataset, { observer }: Observation): Promise<LanguageEngine> {
  const { config, context, built, totalSteps } = run;
  const weights = valuesFor(built);
  try {
    const values = weights === null ? {} : { values: weights.values };
    const engine: LanguageEngine = initialize({ context, model: built.model, totalSteps, observer, ...values });
    const { rank, size } = dataRanks(context).rows;
    const { batchSize } = config.train;
    const sample = new BatchSource(dataset, { batchSize, seed: config.seed, rank, ranks: size }).next();
    scope(() => engine.train().prepare(tokenTensors(sample, context.device), { together: true }));
    return engine;
  } finally {
    weights?.close();
  }
}

async function train(
  run: Run,
  engine: LanguageEngine,
  resumedFrom: string | null,
  progress: Progress,
  signal: AbortSignal,
): Promise<string | null> {
  const { config, context, built, data, totalSteps } = run;
  const saving = checkpointing(engine, { built, config, totalSteps }, data, progress);
  progress.start({
    name: config.name,
    totalSteps,
    completedSteps: engine.steps,
    resumedFrom,
    parameters: built.model.parameterCount,
    device: context.device,
    precision: config.precision === 'auto' ? context.dtype : config.precision,
  });
  const hooks = [
    noting(engine, progress),
    recordingSteps(run.record),
    reporting(progress),
    saving.hook,
    evaluating(config, run.validation, progress),
  ];
  const task = languageTask(context.device);
  const recovery: Recovery = {
    last: () => saving.last() ?? (resumedFrom === null ? null : shown(resumedFrom)),
    async rewind() {
      // The save under way may be the one to go back to.
      await saving.checkpointer.settle();
      const { step, path } = await rewind({ engine, built, data, config });
      progress.note(`back at ${shown(path)} (step ${step})`, { kind: 'rewind', step });
    },
  };
  try {
    await new Trainer({ engine, task, data, totalSteps, signal, hooks, recovery }).fit();
  } finally {
    await saving.checkpointer.dispose();
  }
  return saving.last();
}

async function showSample(
  { config, context, built, tokenizer }: Run,
  engine: LanguageEngine,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  const inStages = config.parallel.pp > 1 ? { forward: engine.eval().forward.bind(engine) } : {};
  // Every rank writes the sample by itself, from whole sequences.
  built.model.sequence = null;
  const generator = { model: built.model, store: engine.store, device: context.device, ...inStages };
  const text = await sampleText(generator, tokenizer, config.sample, signal);
  progress.note(`a sample of what it learned:\n\n${text}\n`);
}

/** By then a micro-batch has been recorded, or has not. */
const stepsThatTell = 5;

/** Says what the store and the engine have to say: at once, and what the first steps have shown. */
function noting(engine: LanguageEngine, progress: Progress): Hook {
  const told = new Set<string>();
  const tell = (): void => {
    for (const note of [...engine.store.notes(), ...engine.notes]) {
      if (!told.has(note)) progress.note(note);
      told.add(note);
    }
  };
  tell();
  let steps = 0;
  return {
    afterStep() {
      if (++steps <= stepsThatTell) tell();
    },
  };
}
