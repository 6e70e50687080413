/** Which stages of which units lie where. */
import { TierraError } from '../../core/errors.ts';
import { type AnyModule, Parameter, type Unit } from '../../nn/index.ts';
import { balancedCuts, givenCuts, type StageRange, uniformCuts } from './partition.ts';
import {
  buildSchedule,
  rankOfStage,
  type Schedule,
  type ScheduleCosts,
  type ScheduleMaker,
  type ScheduleName,
  stagesOfRank,
} from './schedule/index.ts';

/** The `parallel.pipeline` section, with the numbers it goes with. */
export interface PipelineSettings {
  readonly schedule: ScheduleName | ScheduleMaker;
  readonly ranks: number;
  readonly microBatches: number;
  readonly chunks?: number;
  /** `balanced` by matmul work, `uniform` by number of units, or the first unit of every stage but the first. */
  readonly cuts: 'balanced' | 'uniform' | readonly number[];
  readonly costs?: ScheduleCosts;
}

export interface PipelineLayout {
  readonly schedule: Schedule;
  /** Units of every stage. */
  readonly stages: readonly StageRange[];
  /** Stages of every rank. */
  readonly stagesOf: readonly (readonly number[])[];
  /** Stage of every unit. */
  readonly stageOfUnit: readonly number[];
}

/**
 * Cuts the model and makes the schedule. Throws `E_CONFIG` where the numbers do not go together, `E_UNSUPPORTED` for a
 * model that is not a sequence of units.
 */
export function layOutPipeline(
  units: readonly Unit[],
  sequenceLength: number | null,
  settings: PipelineSettings,
): PipelineLayout {
  if (sequenceLength !== units.length) {
    const found = sequenceLength === null ? 'none' : `${sequenceLength} pieces and ${units.length} units`;
    throw new TierraError(
      'E_UNSUPPORTED',
      `pipeline: the model must be a sequence with one unit a piece; it has ${found}`,
      {
        hint: 'Implement SequenceModel (stages, runStage) and mark every piece with unit(), as the models in src/models do.',
      },
    );
  }
  const { ranks, cuts } = settings;
  const schedule = buildSchedule(settings);
  const count = ranks * schedule.chunks;
  const stages =
    cuts === 'uniform'
      ? uniformCuts(units.length, count)
      : cuts === 'balanced'
        ? balancedCuts(units.map(unitWork), count)
        : givenCuts(units.length, count, cuts);
  return {
    schedule,
    stages,
    stagesOf: Array.from({ length: ranks }, (_, rank) => stagesOfRank(rank, schedule)),
    stageOfUnit: stages.flatMap(({ first, end }, stage) => Array.from({ length: end - first }, () => stage)),
  };
}

/** Elements that a token is multiplied with: matrices, but for tables that are only looked up in. */
export function unitWork(unit: Unit): number {
  let work = 0;
  for (const [, module] of (unit.module as AnyModule).namedModules()) {
    if ('isTable' in module) continue;
    for (const own of Object.values(module)) {
      if (own instanceof Parameter && own.shape.length >= 2) work += own.elements;
    }
  }
  return work;
}

/** Rank that holds `unit`. */
export const rankOfUnit = (unit: number, { stageOfUnit, schedule }: PipelineLayout): number =>
  rankOfStage(stageOfUnit[unit]!, schedule);
