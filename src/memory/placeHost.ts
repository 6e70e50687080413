import type { GpuChoice } from './placeGpu.ts';
import {
  type ChunkPlacement,
  groupBytes,
  type HostStaging,
  noSlots,
  type Placement,
  type SlotGroup,
  type Split,
  shortfall,
} from './placement.ts';
import { spread } from './spread.ts';
import type { ChunkUse, StepModel } from './stepModel.ts';
import type { PerTier } from './types.ts';

/**
 * Finds homes below the GPU. Host memory goes, in this order, to what every step exchanges (parameters, gradients at rest),
 * to states, and to undo space for speculation; what does not fit goes to disk, evenly spread through the model so that the disk
 * is busy evenly. Throws `E_PLAN` naming the tier that is short.
 */
export function placeBelowGpu(
  model: StepModel,
  gpu: GpuChoice,
  arenas: PerTier,
  split: Split,
  fixed: HostShares | null = null,
): Placement {
  const chunks = model.uses.map((use) => initial(use, gpu));
  const travellers = model.uses.filter((use) => chunks[use.chunk.id]!.parameterHome !== 'gpu');
  const have = arenas.host;
  const need = (): number => hostBytes(model, chunks, split.staging);
  const small = travellers.filter((use) => !use.chunk.large);
  const order = [...spread(small), ...travellers.filter((use) => use.chunk.large)];

  if (fixed !== null) {
    keepShares(model, chunks, order, fixed);
    if (need() > have) throw shortfall('host', 'the fractions asked for', need(), have);
  } else if (need() > have) {
    const stateful = order.filter((use) => chunks[use.chunk.id]!.stateHome === 'host');
    for (const use of stateful) if (!use.chunk.large) chunks[use.chunk.id]!.stateHome = 'nvme';
    if (need() > have) for (const use of stateful) chunks[use.chunk.id]!.stateHome = 'nvme';
    moveExchange(model, chunks, order, () => need() <= have);
    if (need() > have) throw shortfall('host', 'parameters, gradients and staging', need(), have);
    fillStates(model, chunks, stateful, have - need(), split);
  }
  const nvme = nvmeBytes(model, chunks, arenas.nvme);
  if (nvme.bytes > arenas.nvme) throw shortfall('nvme', 'what host memory cannot hold', nvme.bytes, arenas.nvme);
  speculate(model, chunks, nvme.pairs, have - need(), split, need, have);
  const staging = hostStaging(model, chunks, split.staging);
  const bytes = { gpu: gpu.bytes, host: need() + undoBytes(model, chunks), nvme: nvme.bytes };
  return { chunks, pools: gpu.pools, staging, nvmePairs: nvme.pairs, spares: nvme.spares, bytes };
}

/** Shares of what lives below the GPU that stay in host memory, for the static policy. */
export interface HostShares {
  readonly parameters: number;
  readonly states: number;
}

/** The start of `order` goes to disk, until only the wished share is left on the host. */
function keepShares(
  model: StepModel,
  chunks: readonly ChunkPlacement[],
  order: readonly ChunkUse[],
  { parameters, states }: HostShares,
): void {
  const total = (size: (use: ChunkUse) => number): number => order.reduce((sum, use) => sum + size(use), 0);
  let parametersOut = (1 - parameters) * total((use) => use.parameterBytes);
  let statesOut = (1 - states) * total((use) => use.stateBytes);
  for (const use of order) {
    const placement = chunks[use.chunk.id]!;
    if (use.stateBytes > 0 && use.stateBytes <= statesOut) {
      placement.stateHome = 'nvme';
      statesOut -= use.stateBytes;
    }
    if (use.parts <= 1 && use.parameterBytes <= parametersOut) {
      sendParameterToDisk(use, placement, model.accumulates);
      parametersOut -= use.parameterBytes;
    }
  }
}

function initial(use: ChunkUse, gpu: GpuChoice): ChunkPlacement {
  const resident = gpu.resident[use.chunk.id]!;
  if (gpu.device[use.chunk.id]) {
    return { resident, parameterHome: 'gpu', stateHome: 'gpu', update: 'device', gradientRest: 'gpu' };
  }
  if (use.parts === 0) {
    return {
      resident,
      parameterHome: resident ? 'gpu' : 'host',
      stateHome: 'none',
      update: 'none',
      gradientRest: 'none',
    };
  }
  return { resident, parameterHome: 'host', stateHome: 'host', update: 'deferred', gradientRest: 'host' };
}

/** Sends sums (vertical) and then parameters to disk, one by one, until `fits`. */
function moveExchange(
  model: StepModel,
  chunks: readonly ChunkPlacement[],
  order: readonly ChunkUse[],
  fits: () => boolean,
): void {
  const sumsMayPark = model.accumulates && model.vertical;
  for (const use of order) {
    if (fits()) return;
    if (sumsMayPark && use.parts === 1) chunks[use.chunk.id]!.gradientRest = 'nvme';
  }
  for (const use of order) {
    if (fits()) return;
    if (use.parts > 1) continue;
    sendParameterToDisk(use, chunks[use.chunk.id]!, model.accumulates);
  }
}

/** Without its parameter's place on the host a gradient that is not a sum has nowhere to rest there. */
function sendParameterToDisk(use: ChunkUse, placement: ChunkPlacement, accumulates: boolean): void {
  placement.parameterHome = 'nvme';
  if (use.parts === 1 && !accumulates) placement.gradientRest = 'nvme';
}

/** Brings states back to host memory: large ones first (their staging would cost most), then those furthest down the order. */
function fillStates(
  model: StepModel,
  chunks: readonly ChunkPlacement[],
  stateful: readonly ChunkUse[],
  spare: number,
  split: Split,
): void {
  const wished = [
    ...stateful.filter((use) => use.chunk.large),
    ...stateful.filter((use) => !use.chunk.large).reverse(),
  ];
  const ring = (): number => groupBytes(hostStaging(model, chunks, split.staging).state);
  let left = split.hostStates * spare;
  for (const use of wished) {
    const placement = chunks[use.chunk.id]!;
    if (placement.stateHome !== 'nvme') continue;
    const before = use.chunk.large ? ring() : 0;
    placement.stateHome = 'host';
    const cost = use.stateBytes - (use.chunk.large ? before - ring() : 0);
    if (cost > left) placement.stateHome = 'nvme';
    else left -= cost;
  }
}

/** Chooses update modes. Speculation writes out of place: a second parameter and, on the host, a second state. A preview has no second state. */
function speculate(
  model: StepModel,
  chunks: readonly ChunkPlacement[],
  pairs: boolean,
  spare: number,
  split: Split,
  need: () => number,
  have: number,
): void {
  const updated = model.uses.filter((use) => chunks[use.chunk.id]!.update === 'deferred');
  if (!model.clipping) {
    for (const use of updated) chunks[use.chunk.id]!.update = 'immediate';
    return;
  }
  const mayPreview = updated.filter((use) => canPreview(model, chunks[use.chunk.id]!));
  // Room that previews will need; a chunk that is speculated needs none of it.
  const reserved = (use: ChunkUse): number => (mayPreview.includes(use) ? split.preview * use.parameterBytes : 0);
  let reserve = updated.reduce((sum, use) => sum + reserved(use), 0);
  let left = spare;
  for (const use of split.speculate === 'bottom' ? updated : spread(updated)) {
    const placement = chunks[use.chunk.id]!;
    const onDisk = placement.stateHome === 'nvme' || placement.parameterHome === 'nvme';
    const cost = undoCost(use, placement);
    const most = Math.min(left - (1 - split.undo) * spare, left - reserve + reserved(use));
    if (cost > most || (onDisk && !pairs)) continue;
    placement.update = 'speculated';
    left -= cost;
    reserve -= reserved(use);
  }
  const waiting = mayPreview.filter((use) => chunks[use.chunk.id]!.update === 'deferred');
  for (const use of spread(waiting).slice(0, Math.round(split.preview * waiting.length))) {
    if (use.parameterBytes > left) continue;
    chunks[use.chunk.id]!.update = 'previewed';
    left -= use.parameterBytes;
  }
  // Speculation empties the ring of gradients that come back from disk, never fills one: the sum can only have shrunk.
  if (need() + undoBytes(model, chunks) > have)
    throw shortfall('host', 'undo space', need() + undoBytes(model, chunks), have);
}

/** What a preview reads lies in host memory until the state follows. Compressed states would be unpacked twice. */
export const canPreview = ({ types }: StepModel, { parameterHome, stateHome }: ChunkPlacement): boolean =>
  parameterHome === 'host' && stateHome === 'host' && types.states !== 'compressed';

const undoCost = (use: ChunkUse, placement: ChunkPlacement): number =>
  (placement.stateHome === 'host' ? use.stateBytes : 0) + (placement.parameterHome === 'host' ? use.parameterBytes : 0);

function undoBytes(model: StepModel, chunks: readonly ChunkPlacement[]): number {
  return model.uses.reduce((sum, use) => {
    const placement = chunks[use.chunk.id]!;
    if (placement.update === 'previewed') return sum + use.parameterBytes;
    return sum + (placement.update === 'speculated' ? undoCost(use, placement) : 0);
  }, 0);
}

/** Host bytes without undo space. */
function hostBytes(model: StepModel, chunks: readonly ChunkPlacement[], depth: number): number {
  let bytes = 0;
  for (const use of model.uses) {
    const { parameterHome, stateHome, gradientRest } = chunks[use.chunk.id]!;
    if (parameterHome === 'host') bytes += use.parameterBytes;
    if (stateHome === 'host') bytes += use.stateBytes;
    if (gradientRest === 'host') bytes += restingPlaces(model, use) * use.restingBytes;
  }
  const staging = hostStaging(model, chunks, depth);
  return bytes + Object.values(staging).reduce((sum, group: SlotGroup) => sum + groupBytes(group), 0);
}

/** Host places for gradients beyond the parameter's own, which takes the last part where nothing accumulates. */
export function restingPlaces(model: StepModel, use: ChunkUse): number {
  return model.accumulates ? use.parts : use.parts - 1;
}

export function hostStaging(model: StepModel, chunks: readonly ChunkPlacement[], depth: number): HostStaging {
  const most = (size: (use: ChunkUse, placement: ChunkPlacement) => number): number =>
    model.uses.reduce((bytes, use) => Math.max(bytes, size(use, chunks[use.chunk.id]!)), 0);
  const ring = (bytes: number, count = depth): SlotGroup => (bytes === 0 ? noSlots : { count, bytes });
  const horizontalSum = model.accumulates && !model.vertical;
  const parked = (placement: ChunkPlacement): boolean => placement.gradientRest === 'nvme';
  return {
    fetch: ring(most((use, p) => (p.parameterHome === 'nvme' ? use.parameterBytes : 0))),
    gradient: ring(most((use, p) => (parked(p) ? use.leavingBytes : 0))),
    unpark: ring(most((use, p) => (parked(p) && p.update === 'deferred' ? use.restingBytes : 0))),
    state: ring(most((use, p) => (p.stateHome === 'nvme' ? use.stateBytes : 0))),
    accumulate: ring(
      most((use, p) => (horizontalSum && p.gradientRest === 'host' ? use.leavingBytes : 0)),
      Math.max(2, depth),
    ),
    out: ring(
      most((use, p) => (model.accumulates && use.parts > 0 && p.parameterHome === 'nvme' ? use.parameterBytes : 0)),
    ),
  };
}

function nvmeBytes(
  model: StepModel,
  chunks: readonly ChunkPlacement[],
  have: number,
): { bytes: number; pairs: boolean; spares: readonly SlotGroup[] } {
  let single = 0;
  let parked = 0;
  let state = 0;
  let parameter = 0;
  for (const use of model.uses) {
    const { parameterHome, stateHome, gradientRest } = chunks[use.chunk.id]!;
    if (parameterHome === 'nvme') {
      single += use.parameterBytes;
      if (use.parts > 0) parameter = Math.max(parameter, use.parameterBytes);
    }
    if (stateHome === 'nvme') {
      single += use.stateBytes;
      state = Math.max(state, use.stateBytes);
    }
    if (gradientRest === 'nvme' && model.clipping) parked += use.restingBytes;
  }
  const frozen = model.uses.reduce(
    (sum, use) => sum + (use.parts === 0 && chunks[use.chunk.id]!.parameterHome === 'nvme' ? use.parameterBytes : 0),
    0,
  );
  const paired = 2 * (single - frozen) + frozen + parked;
  if (paired <= have) return { bytes: paired, pairs: true, spares: [] };
  const spares = [state, parameter].filter((bytes) => bytes > 0).map((bytes) => ({ count: 2, bytes }));
  return { bytes: single + parked + spares.reduce((sum, group) => sum + groupBytes(group), 0), pairs: false, spares };
}
