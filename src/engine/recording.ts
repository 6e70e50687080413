/** What `tierra train` keeps of a run: the store, TensorBoard and Prometheus files, as the `record:` section says. */
import { cpus, hostname, release, totalmem } from 'node:os';
import path from 'node:path';
import { formatError, isTierraError } from '../core/errors.ts';
import { native } from '../native/load.ts';
import { noRecord, type Progress, RecordingProgress, type RunRecord } from '../telemetry/index.ts';
import { PrometheusRecord } from '../telemetry/prometheus/prometheusRecord.ts';
import { gitState } from '../telemetry/record/git.ts';
import { several } from '../telemetry/record/several.ts';
import { StoreRecord } from '../telemetry/runStore/storeRecord.ts';
import { TensorboardRecord } from '../telemetry/tensorboard/tensorboardRecord.ts';
import { createdBy } from './checkpoint/manifest.ts';
import type { Hook } from './hooks.ts';
import type { Context } from './launch.ts';

export interface Recording extends Disposable {
  readonly record: RunRecord;
  /** Shows as the progress it was made of, and keeps what is worth keeping. */
  readonly progress: Progress;
}

/** Steps between two looks at what moved and waited. */
const movementMs = 20_000;

/**
 * Opens the record of a run. A record that cannot be opened is told once, and the run goes on without it. The first rank
 * records for all.
 */
export function startRecording(context: Context, progress: Progress, signal: AbortSignal): Recording {
  const record = context.world.rank === 0 ? openRecord(context, progress) : noRecord;
  const onSignal = (): void => record.event('asked to stop: the step under way is the last', { kind: 'signal' });
  // A second Ctrl-C leaves by process.exit.
  const onExit = (): void => {
    record.finish('interrupted', 'ended at once');
    record.dispose();
  };
  signal.addEventListener('abort', onSignal);
  process.on('exit', onExit);
  return {
    record,
    progress: new RecordingProgress(progress, record),
    [Symbol.dispose]() {
      signal.removeEventListener('abort', onSignal);
      process.off('exit', onExit);
      record.dispose();
    },
  };
}

/** Every place that the `record:` section names. One that cannot be opened does not keep the others from being written. */
function openRecord(context: Context, progress: Progress): RunRecord {
  const { record, name, train } = context.config;
  if (record === null) return noRecord;
  const onTrouble = (text: string): void => progress.warn(text);
  const records: RunRecord[] = [];
  try {
    records.push(openStoreRecord(context, record.store, onTrouble));
  } catch (error) {
    if (!isTierraError(error)) throw error;
    progress.warn(`this run is not recorded: ${formatError(error)}`);
  }
  if (record.tensorboard !== false) {
    const folder = record.tensorboard === true ? path.join(train.output, 'tensorboard') : record.tensorboard;
    records.push(new TensorboardRecord({ folder, host: hostname(), config: context.config, onTrouble }));
  }
  if (record.prometheus !== null) records.push(new PrometheusRecord({ target: record.prometheus, name, onTrouble }));
  return several(records);
}

function openStoreRecord(context: Context, file: string, onTrouble: (text: string) => void): RunRecord {
  const { config } = context;
  return new StoreRecord({
    file,
    name: config.name,
    output: config.train.output,
    config,
    git: gitState(process.cwd()),
    machine: machineOf(context),
    host: hostname(),
    onTrouble,
  });
}

function machineOf({ threads, world }: Context): Readonly<Record<string, unknown>> {
  const processors = cpus();
  const { torchVersion, cuda } = native().buildInfo;
  const gpus = Array.from({ length: native().deviceCount() }, (_, index) => {
    const { name, totalBytes } = native().deviceInfo(index);
    return { name, totalBytes };
  });
  return {
    cpu: processors[0]?.model.trim() ?? 'unknown',
    cores: processors.length,
    memoryBytes: totalmem(),
    gpus,
    threads,
    ranks: world.size,
    system: `${process.platform} ${process.arch} ${release()}`,
    versions: { tierra: createdBy().replace('tierra ', ''), node: process.version, torch: torchVersion, cuda },
  };
}

/** Records every step, and now and then what moved and waited. */
export function recordingSteps(record: RunRecord): Hook {
  let lookedMs = performance.now();
  const look = (store: { report?(): Parameters<RunRecord['movement']>[0] | null }): void => {
    const report = store.report?.() ?? null;
    if (report !== null) record.movement(report);
    lookedMs = performance.now();
  };
  return {
    afterStep({ engine }, summary) {
      const { step, loss, gradientNorm, clipFactor, learningRate, tokens, seconds } = summary;
      const lossScale = engine.context.dtype === 'float16' ? summary.lossScale : null;
      record.step({ step, loss, gradientNorm, clipFactor, learningRate, lossScale, tokens, seconds });
      if (performance.now() - lookedMs >= movementMs) look(engine.store);
    },
    afterTrain: ({ engine }) => look(engine.store),
  };
}

/** The reason of a failure, for the record: its first line. */
export const reasonOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).split('\n')[0]!;
