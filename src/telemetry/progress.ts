export type TierName = 'gpu' | 'host' | 'nvme';

/** What one tier holds now, against what it may hold. */
export interface TierUse {
  readonly tier: TierName;
  /** What a person calls it here, where that is another word: `cpu` for training that lives in RAM. Default: `tier`. */
  readonly label?: string;
  readonly usedBytes: number;
  readonly budgetBytes: number;
}

export interface RunStart {
  readonly name: string;
  /** The step at which the run will be complete. */
  readonly totalSteps: number;
  /** Steps done before this process started; 0 for a fresh run. */
  readonly completedSteps: number;
  /** Folder of the checkpoint that it goes on from. */
  readonly resumedFrom?: string | null;
  /** Number of trainable values. */
  readonly parameters: number;
  /** Such as `cpu` or `cuda:0`. */
  readonly device: string;
  /** Such as `fp32` or `bf16`. */
  readonly precision: string;
}

export interface StepReport {
  /** Steps done, counted from 1. */
  readonly step: number;
  readonly loss: number;
  readonly learningRate: number;
  /** Global norm before clipping. */
  readonly gradientNorm: number;
  /** Undefined while there is nothing to measure yet. */
  readonly tokensPerSecond: number | undefined;
  readonly secondsLeft: number | undefined;
  /** Tiers in use, nearest to the compute first. */
  readonly memory: readonly TierUse[];
}

export interface EvaluationReport {
  readonly step: number;
  readonly loss: number;
}

export interface SavedReport {
  readonly step: number;
  readonly path: string;
  readonly bytes?: number;
  /** From the beginning of the save until it was durable. */
  readonly seconds?: number;
  /** How long training stood still for it. */
  readonly blockedSeconds?: number;
}

/**
 * What happens to a run besides steps. `skip`: a step updated nothing, or a batch was passed over. `rewind`: training went
 * back to a checkpoint. `scale`: the loss scale changed. `stuck`: a step takes far longer than others. `memory`: budgets or
 * the machine's memory.
 */
export type EventKind =
  | 'warning'
  | 'note'
  | 'skip'
  | 'rewind'
  | 'scale'
  | 'stuck'
  | 'fault'
  | 'signal'
  | 'resume'
  | 'memory';

/** How a line that is told is kept in the run's record. */
export interface RecordedAs {
  readonly kind: EventKind;
  /** The step it belongs to; the last one when not given. */
  readonly step?: number;
  /** Numbers and names behind the text; must survive JSON. */
  readonly details?: Readonly<Record<string, unknown>>;
}

export interface RunFinish {
  readonly outcome: 'completed' | 'interrupted';
  readonly step: number;
  readonly seconds: number;
  /** The last checkpoint, or null when there is none. */
  readonly path: string | null;
}

/** Where a run tells a person how it goes. Calls return at once and never throw for what they are told. */
export interface Progress extends Disposable {
  start(run: RunStart): void;
  step(report: StepReport): void;
  evaluation(report: EvaluationReport): void;
  saved(report: SavedReport): void;
  /** Something worth a line. With `event` it is kept in the run's record too. */
  note(text: string, event?: RecordedAs): void;
  /** Something that should be looked at. The run's record keeps it as `event` says, as a `warning` otherwise. */
  warn(text: string, event?: RecordedAs): void;
  finish(result: RunFinish): void;
  /** Leaves the terminal as it was found; may be called at any time and more than once. */
  dispose(): void;
}
