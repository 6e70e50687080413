/** The end of a step whose norm is known and finite: what waits for it is updated, what was guessed is kept or made again. */
import type { ChunkId, Ticket } from '../../memory/index.ts';
import type { TensorHandle } from '../../native/binding.ts';
import { native } from '../../native/load.ts';
import { dtypeBytes, noGrad, scope } from '../../tensor/index.ts';
import { stateDtype } from '../resident/entries.ts';
import type { TierUse, UpdateSettings } from '../store.ts';
import { sumOfUses } from './gradientNorms.ts';
import type { ChunkStoreOptions, Planned } from './planned.ts';
import { accumulates, guessedScale, segmentsOf } from './walker.ts';

export interface Accepted {
  readonly step: number;
  readonly settings: UpdateSettings;
  /** What gradients are multiplied with. */
  readonly scale: number;
  readonly normMoment: number;
  readonly useNow: () => TierUse[];
}

export function acceptStep(planned: Planned, options: ChunkStoreOptions, accepted: Accepted): void {
  const { plan, walker, homes, recorder } = planned;
  const { step, settings, scale, normMoment, useNow } = accepted;
  walker.setScale(scale);
  walker.leave(normMoment);
  walker.enter(normMoment + 1);
  walker.beginCompute();
  updateOnDevice(planned, options, settings, scale);
  recorder.endCompute(walker.momentId(normMoment + 1), () => 'update on gpu', useNow);
  walker.leave(normMoment + 1);
  if (scale !== guessedScale(settings)) redoSpeculated(planned, settings);
  for (const { chunk, flips, update, parameterHome, stateHome } of plan.chunks) {
    if (update === 'none') continue;
    if (flips) homes.flip(chunk);
    if (parameterHome === 'nvme') homes.setStamp(chunk, 'parameter', step + 1);
    if (stateHome === 'nvme') homes.setStamp(chunk, 'state', step + 1);
  }
}

/**
 * The norm disagrees with the guess that nothing is clipped: the guessed updates are made again from intact inputs,
 * once all others are done with the staging slots.
 */
function redoSpeculated({ plan, walker }: Planned, settings: UpdateSettings): void {
  const guessed = new Set(
    plan.chunks
      .filter(({ chunk, update }) => update === 'speculated' && walker.hasGuessed(chunk))
      .map(({ chunk }) => chunk),
  );
  const of = ({ chunk, kind, cause }: Ticket) => guessed.has(chunk) && kind !== 'gradient' && cause !== 'fetch';
  const tickets = plan.tickets.filter(of);
  if (tickets.length === 0) return;
  walker.drain();
  walker.again(tickets, settings);
}

function updateOnDevice(planned: Planned, options: ChunkStoreOptions, settings: UpdateSettings, scale: number): void {
  const updates = planned.plan.moments.at(-1)!.deviceUpdates;
  if (updates.length === 0) return;
  const { threads } = options;
  scope(() =>
    noGrad(() => {
      const each = updates.flatMap((chunk) => deviceTensors(planned, options, chunk, stateMoments(settings)));
      const groupOf = each.map(({ group }) => group);
      const tensors = each.map(({ handles }) => handles);
      native().optimizerUpdateMany(settings.rule, settings.groups, groupOf, scale, tensors, threads);
    }),
  );
}

/** What the update of one chunk on the compute device reads and writes, parameter by parameter. */
function deviceTensors(
  { plan, map, tiers, homes, views }: Planned,
  { dtype }: ChunkStoreOptions,
  id: ChunkId,
  moments: number,
) {
  const rest = stateDtype(dtype);
  const chunk = map.layout.chunks[id]!;
  const { parameter, state, gradients } = plan.chunks[id]!;
  const stateAt = tiers.memory(homes.slotOf(id, state!));
  const plane = chunk.elements * dtypeBytes(rest);
  const gradientType = accumulates(plan) ? rest : dtype;
  return segmentsOf(map.layout, id).map(({ group }, index) => {
    const stateTensor = (which: number): TensorHandle =>
      views.tensorIn({ ...stateAt, offset: stateAt.offset + which * plane }, chunk, index, rest).handle;
    const parts = gradients.map((place) =>
      views.tensorIn(tiers.memory(homes.slotOf(id, place)), chunk, index, gradientType),
    );
    const handles = {
      gradient: sumOfUses(parts.reverse(), rest).handle,
      master: stateTensor(0),
      m: moments > 0 ? stateTensor(1) : null,
      v: moments > 1 ? stateTensor(2) : null,
      parameterOut: views.tensorIn(tiers.memory(homes.slotOf(id, parameter)), chunk, index, dtype).handle,
    };
    return { group, handles };
  });
}

/** How many moments the rule keeps beside the master. */
export function stateMoments({ rule, groups }: UpdateSettings): number {
  if (rule === 'adamw') return 2;
  return rule === 'lion' || groups.some(({ momentum }) => momentum !== 0) ? 1 : 0;
}
