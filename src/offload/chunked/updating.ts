/** The end of a step whose norm is known and finite: what waits for it is updated, what was guessed is kept or made again. */
import type { ChunkId, Ticket } from '../../memory/index.ts';
import { native } from '../../native/load.ts';
import type { Parameter } from '../../nn/index.ts';
import { dtypeBytes, noGrad, scope, type Tensor } from '../../tensor/index.ts';
import { stateDtype } from '../resident/entries.ts';
import type { TierUse, UpdateSettings } from '../store.ts';
import { type AtHand, sumOfUses } from './gradientNorms.ts';
import type { ChunkStoreOptions, Planned } from './planned.ts';
import { accumulates, guessedScale, segmentsOf } from './walker.ts';

export interface Accepted {
  readonly step: number;
  readonly settings: UpdateSettings;
  readonly deviceUpdate: DeviceUpdate;
  /** What gradients are multiplied with. */
  readonly scale: number;
  readonly normMoment: number;
  readonly useNow: () => TierUse[];
}

export function acceptStep(planned: Planned, accepted: Accepted): void {
  const { plan, walker, homes, recorder } = planned;
  const { step, settings, deviceUpdate, scale, normMoment, useNow } = accepted;
  walker.setScale(scale);
  walker.leave(normMoment);
  walker.enter(normMoment + 1);
  walker.beginCompute();
  deviceUpdate.run(scale);
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

/**
 * The update of the chunks whose states are on the compute device. Made ready while the device still computes: once the norm is
 * there, nothing but the call itself is left to do.
 */
export class DeviceUpdate implements Disposable {
  readonly #settings: UpdateSettings;
  readonly #threads: number;
  readonly #each: readonly UpdateOfOne[];
  readonly #kept: readonly Tensor[];

  constructor(planned: Planned, options: ChunkStoreOptions, settings: UpdateSettings) {
    this.#settings = settings;
    this.#threads = options.threads;
    const moments = stateMoments(settings);
    const updates = planned.plan.moments.at(-1)!.deviceUpdates;
    this.#each = scope(() => noGrad(() => updates.flatMap((chunk) => deviceTensors(planned, options, chunk, moments))));
    this.#kept = this.#each.flatMap(({ tensors }) => tensors);
  }

  get gradients(): readonly AtHand[] {
    return this.#each.map(({ parameter, tensors }) => ({ parameter, gradient: tensors[0]! }));
  }

  run(scale: number): void {
    if (this.#each.length === 0) return;
    const { rule, groups } = this.#settings;
    const groupOf = this.#each.map(({ group }) => group);
    const handles = this.#each.map(({ tensors: [gradient, master, parameterOut, m, v] }) => ({
      gradient: gradient!.handle,
      master: master!.handle,
      parameterOut: parameterOut!.handle,
      m: m?.handle ?? null,
      v: v?.handle ?? null,
    }));
    noGrad(() => native().optimizerUpdateMany(rule, groups, groupOf, scale, handles, this.#threads));
  }

  [Symbol.dispose](): void {
    for (const tensor of this.#kept) tensor.dispose();
  }
}

interface UpdateOfOne {
  readonly parameter: Parameter;
  readonly group: number;
  /** Gradient, master, parameter, and the rule's moments. */
  readonly tensors: readonly Tensor[];
}

/** What the update of one chunk on the compute device reads and writes, parameter by parameter. */
function deviceTensors(
  { plan, map, tiers, homes, views }: Planned,
  { dtype }: ChunkStoreOptions,
  id: ChunkId,
  moments: number,
): UpdateOfOne[] {
  const rest = stateDtype(dtype);
  const chunk = map.layout.chunks[id]!;
  const { parameter, state, gradients } = plan.chunks[id]!;
  const stateAt = tiers.memory(homes.slotOf(id, state!));
  const plane = chunk.elements * dtypeBytes(rest);
  const gradientType = accumulates(plan) ? rest : dtype;
  return segmentsOf(map.layout, id).map(({ group }, index) => {
    const stateTensor = (which: number): Tensor =>
      views.tensorIn({ ...stateAt, offset: stateAt.offset + which * plane }, chunk, index, rest);
    const parts = gradients.map((place) =>
      views.tensorIn(tiers.memory(homes.slotOf(id, place)), chunk, index, gradientType),
    );
    const parameterOut = views.tensorIn(tiers.memory(homes.slotOf(id, parameter)), chunk, index, dtype);
    const own = Array.from({ length: moments }, (_, moment) => stateTensor(moment + 1));
    const tensors = [sumOfUses(parts.reverse(), rest), stateTensor(0), parameterOut, ...own];
    const owner = map.parameters[chunk.parameters[index]!.id]!;
    return { parameter: owner, group, tensors: tensors.map((tensor) => tensor.keep()) };
  });
}

/** How many moments the rule keeps beside the master. */
export function stateMoments({ rule, groups }: UpdateSettings): number {
  if (rule === 'adamw') return 2;
  return rule === 'lion' || groups.some(({ momentum }) => momentum !== 0) ? 1 : 0;
}
