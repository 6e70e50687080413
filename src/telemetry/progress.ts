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
  /** Something worth a line. */
  note(text: string): void;
  /** Something that should be looked at. */
  warn(text: string): void;
  finish(result: RunFinish): void;
  /** Leaves the terminal as it was found; may be called at any time and more than once. */
  dispose(): void;
}
