/** The end of a step whose norm is known and finite: what waits for it is updated, what was guessed is kept or made again. */
import { type ChunkId, guesses, type PlaneKind, type Ticket } from '../../memory/index.ts';
import type { CompressedTensors } from '../../native/binding.ts';
import { native } from '../../native/load.ts';
import type { Parameter } from '../../nn/index.ts';
import { adopt, dtypeCode, noGrad, scope, type Tensor } from '../../tensor/index.ts';
import { stateDtype } from '../resident/entries.ts';
import type { TierUse, UpdateSettings } from '../store.ts';
import { type AtHand, sumOfUses } from './gradientNorms.ts';
import type { ChunkStoreOptions, Planned } from './planned.ts';
import { type SavedFormat, savedFormat, savedRange } from './savedKinds.ts';
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
  if (scale !== guessedScale(settings)) redoGuessed(planned, settings);
  walker.setStateScale(scale);
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
function redoGuessed({ plan, walker }: Planned, settings: UpdateSettings): void {
  const isVoid = ({ chunk, kind, cause }: Ticket): boolean => {
    const { update } = plan.chunks[chunk]!;
    if (!guesses(update) || !walker.hasGuessed(chunk)) return false;
    if (update === 'previewed') return cause === 'preview';
    return kind !== 'gradient' && cause !== 'fetch' && cause !== 'preview';
  };
  const tickets = plan.tickets.filter(isVoid);
  if (tickets.length === 0) return;
  walker.drainBeforeStates();
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
  readonly #compressed: boolean;

  constructor(planned: Planned, options: ChunkStoreOptions, settings: UpdateSettings) {
    this.#settings = settings;
    this.#threads = options.threads;
    this.#compressed = planned.plan.types.states === 'compressed';
    const format = savedFormat(options.dtype, planned.plan.types, stateMoments(settings));
    const updates = planned.plan.moments.at(-1)!.deviceUpdates;
    this.#each = scope(() => noGrad(() => updates.flatMap((chunk) => deviceTensors(planned, options, chunk, format))));
    this.#kept = this.#each.flatMap(({ tensors }) => [...tensors.values()]);
  }

  get gradients(): readonly AtHand[] {
    return this.#each.map(({ parameter, tensors }) => ({ parameter, gradient: tensors.get('gradient')! }));
  }

  run(scale: number): void {
    if (this.#each.length === 0) return;
    const { rule, groups } = this.#settings;
    noGrad(() => {
      if (this.#compressed) {
        for (const { group, tensors } of this.#each) {
          native().optimizerUpdateCompressed(
            'automatic',
            groups[group]!,
            scale,
            compressedHandles(tensors),
            this.#threads,
          );
        }
        return;
      }
      const groupOf = this.#each.map(({ group }) => group);
      const handles = this.#each.map(({ tensors }) => exactHandles(tensors));
      native().optimizerUpdateMany(rule, groups, groupOf, scale, handles, this.#threads);
    });
  }

  [Symbol.dispose](): void {
    for (const tensor of this.#kept) tensor.dispose();
  }
}

/** What the update of one parameter reads and writes. Its new weight goes to `weightOut`. */
type UpdateTensors = ReadonlyMap<'gradient' | 'weightOut' | PlaneKind, Tensor>;

interface UpdateOfOne {
  readonly parameter: Parameter;
  readonly group: number;
  readonly tensors: UpdateTensors;
}

const exactHandles = (tensors: UpdateTensors) => ({
  gradient: tensors.get('gradient')!.handle,
  master: tensors.get('master')!.handle,
  parameterOut: tensors.get('weightOut')!.handle,
  m: tensors.get('moment1')?.handle ?? null,
  v: tensors.get('moment2')?.handle ?? null,
});

const compressedHandles = (tensors: UpdateTensors): CompressedTensors => ({
  gradient: tensors.get('gradient')!.handle,
  weight: tensors.get('weight')!.handle,
  low: tensors.get('correction')?.handle ?? null,
  m: tensors.get('moment1Codes')!.handle,
  root: tensors.get('moment2Codes')!.handle,
  mScales: tensors.get('moment1Scales')!.handle,
  rootScales: tensors.get('moment2Scales')!.handle,
  weightOut: tensors.get('weightOut')!.handle,
});

/** What the update of one chunk on the compute device reads and writes, parameter by parameter. */
function deviceTensors(
  { plan, map, tiers, homes, views }: Planned,
  { dtype }: ChunkStoreOptions,
  id: ChunkId,
  { types, trained }: SavedFormat,
): UpdateOfOne[] {
  const rest = stateDtype(dtype);
  const chunk = map.layout.chunks[id]!;
  const { parameter, state, gradients } = plan.chunks[id]!;
  const { arena, offset } = tiers.memory(homes.slotOf(id, state!));
  const gradientType = accumulates(plan) ? rest : dtype;
  return segmentsOf(map.layout, id).map(({ group }, index) => {
    const owner = map.parameters[chunk.parameters[index]!.id]!;
    const parts = gradients.map((place) =>
      views.tensorIn(tiers.memory(homes.slotOf(id, place)), chunk, index, gradientType),
    );
    const tensors = new Map<'gradient' | 'weightOut' | PlaneKind, Tensor>([
      ['gradient', sumOfUses(parts.reverse(), rest)],
      ['weightOut', views.tensorIn(tiers.memory(homes.slotOf(id, parameter)), chunk, index, dtype)],
    ]);
    for (const saved of trained) {
      if (saved.plane === null) continue;
      const { offset: at, shape = owner.shape } = savedRange(chunk, index, saved, types);
      tensors.set(saved.plane.kind, adopt(native().arenaTensor(arena, offset + at, shape, dtypeCode(saved.dtype))));
    }
    for (const tensor of tensors.values()) tensor.keep();
    return { parameter: owner, group, tensors };
  });
}

/** How many moments the rule keeps beside the master. */
export function stateMoments({ rule, groups }: UpdateSettings): number {
  if (rule === 'adamw') return 2;
  return rule === 'lion' || groups.some(({ momentum }) => momentum !== 0) ? 1 : 0;
}
