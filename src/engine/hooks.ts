import type { StepOutcome } from './engine.ts';
import type { Trainer } from './trainer.ts';

/** One step as the hooks see it. */
export interface StepSummary extends StepOutcome {
  /** Mean loss over the step's micro-batches, before the update. */
  readonly loss: number;
  /** Tokens (or samples, for data that are not text) this step trained on. */
  readonly tokens: number;
  readonly seconds: number;
  readonly epoch: number;
}

/** Called by the trainer, in the order of the list. Any may be asynchronous. */
export interface Hook {
  beforeTrain?(trainer: Trainer): void | Promise<void>;
  afterTrain?(trainer: Trainer): void | Promise<void>;
  beforeEpoch?(trainer: Trainer, epoch: number): void | Promise<void>;
  afterEpoch?(trainer: Trainer, epoch: number): void | Promise<void>;
  beforeStep?(trainer: Trainer): void | Promise<void>;
  afterStep?(trainer: Trainer, summary: StepSummary): void | Promise<void>;
}

export type HookName = keyof Hook;
