import { restingPlaces } from './placeHost.ts';
import type { ChunkPlacement, Placement, SlotGroup } from './placement.ts';
import type { Place, Slot } from './plan.ts';
import type { ChunkUse, StepModel } from './stepModel.ts';
import { type SlotId, slotId, type Tier } from './types.ts';

/** The places of one chunk, on every tier. */
export interface ChunkPlaces {
  readonly parameter: Place;
  readonly state: Place | null;
  /** Resident chunks only. */
  readonly gpuSlot: SlotId | null;
  /** Where each part of its gradient rests (GPU, host or disk). */
  readonly gradients: readonly Place[];
  readonly flips: boolean;
}

/** Every slot of a plan, each tier's arena filled from offset 0 without gaps. */
export interface Arenas {
  readonly slots: readonly Slot[];
  readonly chunks: readonly ChunkPlaces[];
  readonly pools: Readonly<Record<keyof Placement['pools'], readonly SlotId[]>>;
  readonly staging: Readonly<Record<keyof Placement['staging'], readonly SlotId[]>>;
  readonly bytes: Readonly<Record<Tier, number>>;
}

/** The other of two places that take turns; the place itself when there is one. */
export const otherPlace = (place: Place): Place =>
  place.alternate === undefined ? place : { slot: place.alternate, alternate: place.slot };

export function fillArenas(model: StepModel, placement: Placement): Arenas {
  const slots: Slot[] = [];
  const bytes: Record<Tier, number> = { gpu: 0, host: 0, nvme: 0 };
  const add = (tier: Tier, size: number, label: string): SlotId => {
    const id = slotId(slots.length);
    slots.push({ id, tier, offset: bytes[tier], bytes: size, label });
    bytes[tier] += size;
    return id;
  };
  const group = (tier: Tier, { count, bytes: size }: SlotGroup, label: string): SlotId[] =>
    Array.from({ length: count }, (_, index) => add(tier, size, `${label} ${index}`));
  const chunks = model.uses.map((use) => placeChunk(model, use, placement, add));
  const { pools, staging } = placement;
  const arenas: Arenas = {
    slots,
    chunks,
    pools: {
      normal: group('gpu', pools.normal, 'pool parameter'),
      large: group('gpu', pools.large, 'pool large parameter'),
      normalSums: group('gpu', pools.normalSums, 'pool sum'),
      largeSums: group('gpu', pools.largeSums, 'pool large sum'),
    },
    staging: {
      fetch: group('host', staging.fetch, 'staging fetch'),
      gradient: group('host', staging.gradient, 'staging gradient'),
      unpark: group('host', staging.unpark, 'staging unpark'),
      state: group('host', staging.state, 'staging state'),
      accumulate: group('host', staging.accumulate, 'staging accumulate'),
      out: group('host', staging.out, 'staging out'),
    },
    bytes,
  };
  for (const spare of placement.spares) group('nvme', spare, 'spare extent');
  return arenas;
}

function placeChunk(
  model: StepModel,
  use: ChunkUse,
  placement: Placement,
  add: (tier: Tier, bytes: number, label: string) => SlotId,
): ChunkPlaces {
  const { id } = use.chunk;
  const chosen = placement.chunks[id]!;
  const place = (tier: Tier, bytes: number, paired: boolean, label: string): Place => {
    const slot = add(tier, bytes, `${label} ${id}`);
    return paired ? { slot, alternate: add(tier, bytes, `${label} ${id} (alternate)`) } : { slot };
  };
  const takesTurns = (tier: Tier, kind: 'parameter' | 'state'): boolean => {
    if (tier === 'nvme') return placement.nvmePairs && use.parts > 0;
    if (tier !== 'host') return false;
    return chosen.update === 'speculated' || (chosen.update === 'previewed' && kind === 'parameter');
  };
  const gpuSlot = chosen.resident ? add('gpu', use.parameterBytes, `parameter ${id}`) : null;
  const { parameterHome, stateHome } = chosen;
  const parameter: Place =
    parameterHome === 'gpu' && gpuSlot !== null
      ? { slot: gpuSlot }
      : place(parameterHome, use.parameterBytes, takesTurns(parameterHome, 'parameter'), 'parameter');
  const state = stateHome === 'none' ? null : place(stateHome, use.stateBytes, takesTurns(stateHome, 'state'), 'state');
  const gradients = restPlaces(model, use, chosen, parameter, add);
  const flips = parameter.alternate !== undefined || state?.alternate !== undefined;
  return { parameter, state, gpuSlot, gradients, flips };
}

/** Where nothing accumulates, the last gradient to come (part 0) rests in its parameter's place. */
function restPlaces(
  model: StepModel,
  use: ChunkUse,
  chosen: ChunkPlacement,
  parameter: Place,
  add: (tier: Tier, bytes: number, label: string) => SlotId,
): Place[] {
  const { gradientRest } = chosen;
  const { id } = use.chunk;
  if (gradientRest === 'none') return [];
  if (gradientRest === 'nvme') {
    return model.clipping ? [{ slot: add('nvme', use.restingBytes, `gradient ${id}`) }] : [];
  }
  const own = Array.from({ length: restingPlaces(model, use) }, (_, part) => ({
    slot: add(gradientRest, use.restingBytes, `gradient ${id}.${part}`),
  }));
  return model.accumulates ? own : [parameter, ...own];
}
