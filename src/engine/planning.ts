/** `tierra plan`: from a configuration to a plan and its summary; nothing is loaded, nothing is allocated. */
import type { Config } from '../config/index.ts';
import { isTierraError } from '../core/errors.ts';
import { fits, type Plan, planStep } from '../memory/index.ts';
import { buildModel, type ModelSettings } from '../models/index.ts';
import { checkPlanned, estimatePlan, type PlanRequest, type PlanSubject, subjectOf } from './planEstimate.ts';
import { type PlanSummary, summarizePlan, withOtherWays } from './planSummary.ts';

export interface Planned {
  readonly summary: PlanSummary;
  readonly plan: Plan;
}

/** Throws `E_PLAN` when the model does not fit: which tier is short by how much, and the smallest changes that help. */
export async function runPlanning(config: Config, request: PlanRequest): Promise<Planned> {
  const subject = await estimatePlan(config, request);
  try {
    const plan = planStep(subject.input);
    return { plan, summary: summarizePlan(subject, plan) };
  } catch (error) {
    throw isTierraError(error, 'E_PLAN') ? withOtherWays(error, otherWays(subject)) : error;
  }
}

/** Settings that make the same model fit the same budgets. */
function otherWays(subject: PlanSubject): string[] {
  const { config } = subject;
  const { train, memory } = config;
  const works = (changed: Config): boolean => fits(again(subject, changed).input);
  const recomputed: Config = { ...config, memory: { ...memory, activations: 'recompute' } };
  const ways: string[] = [];
  if (memory.activations === 'keep' && works(recomputed)) ways.push('set memory.activations: recompute');
  for (let size = Math.floor(train.batchSize / 2); size >= 1; size = Math.floor(size / 2)) {
    const accumulate = train.accumulate * Math.ceil(train.batchSize / size);
    const change = `train.batchSize: ${size} with train.accumulate: ${accumulate}`;
    const smaller = { ...train, batchSize: size, accumulate };
    if (works({ ...config, train: smaller })) {
      ways.push(`set ${change}`);
      break;
    }
    if (ways.length === 0 && memory.activations === 'keep' && works({ ...recomputed, train: smaller })) {
      ways.push(`set ${change} and memory.activations: recompute`);
      break;
    }
  }
  for (let size = Math.floor(train.batchSize / 2); ways.length === 0 && size >= 1; size = Math.floor(size / 2)) {
    const smaller = { ...train, batchSize: size };
    if (works({ ...config, train: smaller })) ways.push(`set train.batchSize: ${size}, which is a smaller batch`);
    else if (memory.activations === 'keep' && works({ ...recomputed, train: smaller })) {
      ways.push(`set train.batchSize: ${size}, which is a smaller batch, and memory.activations: recompute`);
    }
  }
  const compressed: Config = { ...config, optimizer: { ...config.optimizer, states: 'compressed' } };
  if (config.optimizer.states === 'exact' && isAllowed(subject, compressed) && works(compressed)) {
    ways.push('set optimizer.states: compressed, which keeps moments in eight bits');
  }
  return ways;
}

function isAllowed({ machine, dtype }: PlanSubject, config: Config): boolean {
  try {
    checkPlanned(config, machine, dtype);
    return true;
  } catch (error) {
    if (!isTierraError(error)) throw error;
    return false;
  }
}

function again({ machine, dtype, built }: PlanSubject, config: Config): PlanSubject {
  const settings = { ...(built.hfConfig as Record<string, unknown>) };
  const fresh = buildModel({ architecture: String(settings.model_type), config: settings } as ModelSettings);
  return subjectOf(config, fresh, machine, dtype);
}
