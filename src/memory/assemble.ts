import { fillArenas } from './arenas.ts';
import { Draft, Ring } from './draft.ts';
import { type EmitContext, LeaseIndex } from './emitContext.ts';
import { emitTransfers } from './emitTransfers.ts';
import { emitUpdates } from './emitUpdates.ts';
import { guessingCourse } from './guessed.ts';
import type { Placement, Split } from './placement.ts';
import type { ChunkPlan, Plan, PlanForecast, Ticket } from './plan.ts';
import type { Program } from './program.ts';
import { slotIn } from './program.ts';
import { type Eviction, planResidency } from './residency.ts';
import type { StepModel } from './stepModel.ts';
import { chunkId, type PerTier, type TicketId, ticketId } from './types.ts';

export interface Assembly {
  readonly model: StepModel;
  readonly placement: Placement;
  readonly budgets: PerTier;
  readonly otherBytes: PerTier;
}

interface AssembleOptions {
  readonly steps: number;
  readonly cyclic: boolean;
  readonly lead: number;
  readonly slack: number;
  readonly eviction: Eviction;
}

/** A plan's tickets and moments, or those of several steps in a row. */
export function assemble({ model, placement }: Assembly, options: AssembleOptions): EmitContext {
  const first = draftSteps({ model, placement }, options, null);
  if (!options.cyclic) return first;
  const counts = stayCounts(first);
  // Where a ring's slots do not divide its stays, they are dealt again now that the stays are known.
  const uneven = ringNames.some((ring) => {
    const { count } = placement.staging[ring];
    return count > 0 && counts[ring] > count && counts[ring] % count !== 0;
  });
  return uneven ? draftSteps({ model, placement }, options, counts) : first;
}

const ringNames = ['fetch', 'gradient', 'unpark', 'state', 'accumulate', 'out'] as const;
type StayCounts = Readonly<Record<(typeof ringNames)[number], number>>;

const stayCounts = ({ rings }: EmitContext): StayCounts =>
  Object.fromEntries(ringNames.map((ring) => [ring, rings[ring].count])) as StayCounts;

function draftSteps(
  { model, placement }: Pick<Assembly, 'model' | 'placement'>,
  options: AssembleOptions,
  counts: StayCounts | null,
): EmitContext {
  const arenas = fillArenas(model, placement);
  const draft = new Draft(options.cyclic, model.trace.moments.length);
  const residency = planResidency(model, placement, options);
  const { staging } = arenas;
  const context: EmitContext = {
    model,
    placement,
    arenas,
    draft,
    stays: new LeaseIndex(arenas, residency),
    lead: options.lead,
    carried: (['normal', 'large'] as const).flatMap((pool) =>
      [...residency[pool].exit].map(([chunk, slot]) => ({ chunk: chunkId(chunk), slot: arenas.pools[pool][slot]! })),
    ),
    rings: {
      fetch: new Ring(draft, staging.fetch, counts?.fetch),
      gradient: new Ring(draft, staging.gradient, counts?.gradient),
      unpark: new Ring(draft, staging.unpark, counts?.unpark),
      state: new Ring(draft, staging.state, counts?.state),
      accumulate: new Ring(draft, staging.accumulate, counts?.accumulate),
      out: new Ring(draft, staging.out, counts?.out),
    },
    parameterReady: new Map(),
    stateReady: new Map(),
    gradientFree: new Map(),
    arrivals: new Map(),
  };
  for (let step = 0; step < options.steps; step++) {
    emitTransfers(context, step);
    emitUpdates(context, step);
  }
  draft.finish();
  return context;
}

const noForecast: PlanForecast = {
  stepSeconds: 0,
  computeSeconds: 0,
  stallSeconds: {},
  movedBytes: { read: 0, write: 0, toDevice: 0, toHost: 0, update: 0 },
  busySeconds: { read: 0, write: 0, toDevice: 0, toHost: 0, update: 0 },
};

/** The steady-state step under a split's choices. */
export function assembleStep(
  assembly: Assembly,
  { slack, lead }: Pick<Split, 'slack' | 'lead'>,
  eviction: Eviction = 'belady',
): EmitContext {
  return assemble(assembly, { steps: 1, cyclic: true, lead, slack, eviction });
}

/** The same as a plan, without a forecast yet. */
export function assemblePlan(
  assembly: Assembly,
  split: Pick<Split, 'slack' | 'lead'>,
  policy: string,
  eviction: Eviction = 'belady',
): Plan {
  const { draft, arenas, model, placement, carried } = assembleStep(assembly, split, eviction);
  const ids = (indices: readonly number[]): readonly TicketId[] => {
    if (indices.length < 2) return indices as readonly TicketId[];
    return [...new Set(indices)].sort((a, b) => a - b) as TicketId[];
  };
  const chunks = placement.chunks.map(({ resident, parameterHome, stateHome, update }, chunk): ChunkPlan => {
    const { parameter, state, gpuSlot, gradients, flips } = arenas.chunks[chunk]!;
    const { id } = model.uses[chunk]!.chunk;
    return { chunk: id, parameterHome, stateHome, resident, update, flips, parameter, state, gpuSlot, gradients };
  });
  return {
    version: 1,
    policy,
    signature: model.trace.signature,
    layoutHash: model.layout.hash,
    types: model.types,
    mode: model.trace.mode,
    budgets: assembly.budgets,
    otherBytes: assembly.otherBytes,
    arenaBytes: arenas.bytes,
    slots: arenas.slots,
    pool: [...arenas.pools.normal, ...arenas.pools.large],
    carried,
    chunks,
    moments: draft.moments.map(({ step: _, waits, waitsPrevious, ...moment }) => ({
      ...moment,
      waits: ids(waits),
      waitsPrevious: ids(waitsPrevious),
    })),
    tickets: draft.tickets.map(
      ({ index, step: _, after, afterPrevious, ...ticket }): Ticket => ({
        ...ticket,
        id: ticketId(index),
        after: ids(after),
        afterPrevious: ids(afterPrevious),
      }),
    ),
    forecast: noForecast,
  };
}

/** `steps` steps of a policy that fetches on demand, ready for the null device. */
export function assembleReactive(assembly: Assembly, eviction: Eviction, steps: number): Program {
  const { draft, arenas, model } = assemble(assembly, { steps, cyclic: false, lead: 1, slack: 0, eviction });
  const { tickets, moments } = guessingCourse(draft);
  const onDevice = (chunk: number) => {
    const { parameter, state, gradients } = arenas.chunks[chunk]!;
    return { parameter: parameter.slot, state: state!.slot, gradients: gradients.map((place) => place.slot) };
  };
  return {
    steps,
    momentsPerStep: draft.momentsPerStep,
    microBatches: model.trace.microBatches,
    training: model.trace.mode === 'training',
    types: model.types,
    layout: model.layout,
    slotTiers: arenas.slots.map((slot) => slot.tier),
    arenaBytes: arenas.bytes,
    otherBytes: assembly.otherBytes,
    budgets: assembly.budgets,
    rest: arenas.chunks.flatMap(({ parameter, state }, index) => {
      const chunk = model.uses[index]!.chunk.id;
      return [
        { slot: parameter.slot, chunk, kind: 'parameter' as const },
        ...(state === null ? [] : [{ slot: state.slot, chunk, kind: 'state' as const }]),
      ];
    }),
    moments: moments.map((moment) => ({
      ...moment,
      seconds: model.trace.moments[moment.index]!.seconds,
      nonModelBytes: model.trace.moments[moment.index]!.nonModelBytes,
      waits: [...moment.waits],
      deviceUpdates: moment.deviceUpdates.map((chunk) => ({ chunk, ...onDevice(chunk) })),
    })),
    tickets: tickets.map((ticket) => ({
      ...ticket,
      after: [...ticket.after],
      priority: ticket.step * draft.momentsPerStep + ticket.priority,
      from: slotIn(ticket.from, ticket.step),
      to: slotIn(ticket.to, ticket.step),
      stateTo: ticket.stateTo === undefined ? null : slotIn(ticket.stateTo, ticket.step),
      gradients: (ticket.gradients ?? []).map((place) => slotIn(place, ticket.step)),
      part: ticket.part ?? 0,
      microBatch: ticket.microBatch ?? -1,
      add: ticket.add ?? false,
    })),
  };
}
