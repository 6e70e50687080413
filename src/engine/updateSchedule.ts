import type { UpdateSettings } from '../offload/store.ts';

/** The update of each step: rule, hyper-parameters by group, clipping. Steps count from 0. */
export interface UpdateSchedule {
  at(step: number): UpdateSettings;
  /** Learning rate of the first group. */
  learningRate(step: number): number;
}
