import type { Config } from '../config/index.ts';
import { isTierraError, TierraError } from '../core/errors.ts';
import { formatBytes, MiB } from '../core/units.ts';
import type { TierUse } from '../offload/store.ts';

export interface OutOfMemoryPlace {
  /** What the engine was at, such as `forward of step 3`. */
  readonly doing: string;
  /** The unit that ran last and how, such as `blocks.3 backward`; empty before the first. */
  readonly unit: string;
  readonly use: readonly TierUse[];
}

/**
 * An out-of-memory error with where it came up, what was needed of what, and which settings would mend it; other errors, and such
 * as say it already, unchanged.
 */
export function explainOutOfMemory(error: unknown, where: OutOfMemoryPlace, config: Config): unknown {
  if (!isTierraError(error, 'E_OUT_OF_MEMORY') || error.details.doing !== undefined) return error;
  const { doing, use } = where;
  // What a plan takes belongs to all units.
  const unit = error.details.setting === undefined ? where.unit : '';
  const cap = capOf(error);
  const gpu = use.find(({ tier }) => tier === 'gpu');
  const budget = gpu !== undefined && gpu.budgetBytes < Number.MAX_SAFE_INTEGER ? gpu.budgetBytes : null;
  const place = unit === '' ? doing : `${doing}, unit ${unit}`;
  return new TierraError('E_OUT_OF_MEMORY', `${place}: ${cap === null ? error.message : shortage(cap, budget)}`, {
    hint: hintFor(error, cap, budget, config),
    details: {
      ...error.details,
      doing,
      ...(unit === '' ? {} : { unit }),
      ...(budget === null ? {} : { budgetBytes: budget }),
    },
    cause: error,
  });
}

/** libtorch's share of the budget was not enough: bytes asked for at once, its share, and what of that is in use. */
interface Cap {
  readonly need: number;
  readonly cap: number;
  readonly allocated: number;
}

function capOf({ details }: TierraError): Cap | null {
  const { need, cap, allocated } = details as Record<string, unknown>;
  const known = typeof need === 'number' && typeof cap === 'number' && typeof allocated === 'number';
  return known ? { need, cap, allocated } : null;
}

function shortage({ need, cap, allocated }: Cap, budget: number | null): string {
  const share = budget === null ? 'allowed' : `that memory.gpu (${formatBytes(budget)}) leaves for computing`;
  return `${formatBytes(need)} are needed at once, ${formatBytes(allocated)} of the ${formatBytes(cap)} ${share} are in use`;
}

function hintFor(error: TierraError, cap: Cap | null, budget: number | null, config: Config): string {
  const { train, data, memory } = config;
  const smaller = [
    ...(train.batchSize > 1 ? [`train.batchSize (now ${train.batchSize}) smaller and train.accumulate larger`] : []),
    `data.sequenceLength (now ${data.sequenceLength}) smaller`,
    ...(memory.activations === 'keep' ? ['memory.activations: recompute'] : []),
  ];
  const less = `Less is live at once with ${smaller.join(', or ')}.`;
  // Some more than what lacked now: more may be asked for later in the step.
  const enough = cap !== null && budget !== null ? budget + (cap.allocated + cap.need - cap.cap) : null;
  const raise =
    enough === null
      ? 'Or raise the budget, memory.gpu.'
      : `Or set memory.gpu to at least ${Math.ceil(enough / MiB)}MiB.`;
  const own = cap === null && error.hint !== undefined ? `${error.hint} ` : '';
  return `${own}${less} ${raise} The last checkpoint is as it was.`;
}
