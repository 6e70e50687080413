import type { Config } from '../config/index.ts';
import { type AnyModule, nameParameters, type Parameter } from '../nn/index.ts';
import type { UpdateSettings } from '../offload/store.ts';
import {
  groupParameters,
  hyperparametersAt,
  momentsOf,
  type Optimizer,
  optimizerFrom,
  type ParameterGroups,
  type Schedule,
  scheduleFrom,
} from '../optim/index.ts';
import type { Dtype } from '../tensor/index.ts';
import { LossScaler } from './precision/lossScaler.ts';

/** The update of each step: rule, hyper-parameters by group, clipping, loss scale. Steps count from 0. */
export class UpdateSchedule {
  readonly optimizer: Optimizer;
  readonly groups: ParameterGroups;
  readonly #schedule: Schedule;
  readonly #clipNorm: number | null;
  /** Null where losses are not scaled: everywhere but in fp16. */
  readonly scaler: LossScaler | null;
  /**
   * Steps so far that updated nothing. They count for the learning rate, which follows the data, and not for Adam's t,
   * which counts what went into the moments.
   */
  skipped = 0;

  constructor(
    optimizer: Optimizer,
    groups: ParameterGroups,
    schedule: Schedule,
    { clipNorm, scaler }: { readonly clipNorm: number | null; readonly scaler: LossScaler | null },
  ) {
    this.optimizer = optimizer;
    this.groups = groups;
    this.#schedule = schedule;
    this.#clipNorm = clipNorm;
    this.scaler = scaler;
  }

  at(step: number): UpdateSettings {
    const updates = Math.max(0, step - this.skipped);
    const groups = this.groups.groups.map((group) => hyperparametersAt(step, group, this.#schedule, updates));
    return { rule: this.optimizer.rule, groups, clipNorm: this.#clipNorm, lossScale: this.lossScale };
  }

  /** What the loss of the step under way is multiplied with. */
  get lossScale(): number {
    return this.scaler?.scale ?? 1;
  }

  /** Takes note of how a step ended. Returns true when the loss scale was too large and will be smaller. */
  stepEnded(nonFinite: boolean): boolean {
    const canFall = this.scaler?.canFall ?? false;
    this.scaler?.stepEnded(nonFinite);
    if (nonFinite) this.skipped++;
    return nonFinite && canFall;
  }

  /** Learning rate of the first group. */
  learningRate(step: number): number {
    const [first] = this.groups.groups;
    return first === undefined ? 0 : hyperparametersAt(step, first, this.#schedule).lr;
  }

  groupOf(parameter: Parameter): number {
    return this.groups.groupOf.get(parameter.name)!;
  }

  /** The state tensors that each trainable parameter needs beside its master weights. */
  get moments(): ('moment1' | 'moment2')[] {
    const { first, second } = momentsOf(this.optimizer);
    return [...(first ? (['moment1'] as const) : []), ...(second ? (['moment2'] as const) : [])];
  }
}

export interface UpdateOverrides {
  readonly optimizer?: Optimizer;
  readonly schedule?: Schedule;
}

/** Groups the model's parameters (frozen ones become untrainable) and fixes the schedule over `totalSteps`. */
export function updateScheduleFor(
  model: AnyModule,
  config: Config,
  totalSteps: number,
  dtype: Dtype,
  overrides: UpdateOverrides = {},
): UpdateSchedule {
  nameParameters(model);
  const optimizer = overrides.optimizer ?? optimizerFrom(config.optimizer);
  const groups = groupParameters(model.parameters(), optimizer, config.optimizer);
  for (const parameter of model.parameters()) {
    if (groups.groups[groups.groupOf.get(parameter.name)!]!.frozen) parameter.trainable = false;
  }
  const schedule = overrides.schedule ?? scheduleFrom(config.schedule, totalSteps);
  const scaler = dtype === 'float16' ? new LossScaler(config.lossScale) : null;
  return new UpdateSchedule(optimizer, groups, schedule, { clipNorm: config.train.clipNorm, scaler });
}
