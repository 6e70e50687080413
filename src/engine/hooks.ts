import type { StepOutcome } from './engine.ts';
import type { NonFiniteOrigin } from './numerics/origin.ts';
import type { NonFiniteAction } from './numerics/policy.ts';
import type { Trainer } from './trainer.ts';

/** One step as the hooks see it. */
export interface StepSummary extends StepOutcome {
  /** Mean loss over the step's micro-batches, before the update. */
  readonly loss: number;
  /** Tokens (or samples, for data that are not text) this step trained on. */
  readonly tokens: number;
  readonly seconds: number;
  readonly epoch: number;
  /**
   * Where infinite or NaN numbers came from first; null in steps without any, and where only gradients are, because
   * an fp16 loss scale was too large (`overflow`).
   */
  readonly origin: NonFiniteOrigin | null;
}

/** Called by the trainer, in the order of the list. Any may be asynchronous. */
export interface Hook {
  beforeTrain?(trainer: Trainer): void | Promise<void>;
  afterTrain?(trainer: Trainer): void | Promise<void>;
  beforeEpoch?(trainer: Trainer, epoch: number): void | Promise<void>;
  afterEpoch?(trainer: Trainer, epoch: number): void | Promise<void>;
  beforeStep?(trainer: Trainer): void | Promise<void>;
  /** A step met infinite or NaN numbers. Before `stop` and `rewind`, `afterStep` is not called for it. */
  onNonFinite?(trainer: Trainer, summary: StepSummary, action: NonFiniteAction): void | Promise<void>;
  afterStep?(trainer: Trainer, summary: StepSummary): void | Promise<void>;
}

export type HookName = keyof Hook;
