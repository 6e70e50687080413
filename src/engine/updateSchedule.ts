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

/** The update of each step: rule, hyper-parameters by group, clipping. Steps count from 0. */
export class UpdateSchedule {
  readonly optimizer: Optimizer;
  readonly groups: ParameterGroups;
  readonly #schedule: Schedule;
  readonly #clipNorm: number | null;

  constructor(optimizer: Optimizer, groups: ParameterGroups, schedule: Schedule, clipNorm: number | null) {
    this.optimizer = optimizer;
    this.groups = groups;
    this.#schedule = schedule;
    this.#clipNorm = clipNorm;
  }

  at(step: number): UpdateSettings {
    const groups = this.groups.groups.map((group) => hyperparametersAt(step, group, this.#schedule));
    return { rule: this.optimizer.rule, groups, clipNorm: this.#clipNorm, lossScale: 1 };
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
  overrides: UpdateOverrides = {},
): UpdateSchedule {
  nameParameters(model);
  const optimizer = overrides.optimizer ?? optimizerFrom(config.optimizer);
  const groups = groupParameters(model.parameters(), optimizer, config.optimizer);
  for (const parameter of model.parameters()) {
    if (groups.groups[groups.groupOf.get(parameter.name)!]!.frozen) parameter.trainable = false;
  }
  const schedule = overrides.schedule ?? scheduleFrom(config.schedule, totalSteps);
  return new UpdateSchedule(optimizer, groups, schedule, config.train.clipNorm);
}
