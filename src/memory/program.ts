import { waitingCourse } from './guessed.ts';
import type { Layout } from './layout.ts';
import type { Cause, Lane, MomentGradient, MomentParameter, Place, Plan, Ticket } from './plan.ts';
import type { Pass, Trace } from './trace.ts';
import type { ChunkId, ElementBytes, Kind, PerTier, SlotId, Tier } from './types.ts';

/** Several steps laid end to end, every reference absolute: what the null device executes. */
export interface Program {
  readonly steps: number;
  readonly momentsPerStep: number;
  readonly microBatches: number;
  readonly training: boolean;
  readonly types: ElementBytes;
  readonly layout: Layout;
  readonly slotTiers: readonly Tier[];
  readonly arenaBytes: PerTier;
  readonly otherBytes: PerTier;
  readonly budgets: PerTier;
  /** What every slot holds before the first step. */
  readonly rest: readonly RestContent[];
  readonly moments: readonly ProgramMoment[];
  readonly tickets: readonly ProgramTicket[];
}

export interface RestContent {
  readonly slot: SlotId;
  readonly chunk: ChunkId;
  readonly kind: 'parameter' | 'state';
}

export interface ProgramMoment {
  readonly step: number;
  readonly pass: Pass;
  readonly microBatch: number;
  readonly seconds: number;
  readonly nonModelBytes: number;
  readonly waits: readonly number[];
  readonly parameters: readonly MomentParameter[];
  readonly gradients: readonly MomentGradient[];
  readonly deviceUpdates: readonly DeviceUpdate[];
}

/** Where a chunk updated on the device keeps its things. */
export interface DeviceUpdate {
  readonly chunk: ChunkId;
  readonly parameter: SlotId;
  readonly state: SlotId;
  readonly gradients: readonly SlotId[];
}

export interface ProgramTicket {
  readonly step: number;
  readonly lane: Lane;
  readonly kind: Kind;
  readonly chunk: ChunkId;
  readonly cause: Cause;
  readonly bytes: number;
  readonly after: readonly number[];
  /** Index of the last moment that must be done, or -1. */
  readonly afterMoment: number;
  readonly priority: number;
  readonly from: SlotId;
  readonly to: SlotId;
  readonly stateTo: SlotId | null;
  readonly gradients: readonly SlotId[];
  readonly part: number;
  readonly microBatch: number;
  readonly add: boolean;
}

/** The slot a place means in a step, when every step before it was committed. */
export const slotIn = (place: Place, step: number): SlotId =>
  place.alternate !== undefined && step % 2 === 1 ? place.alternate : place.slot;

/** Lays `steps` instances of a plan end to end; `guesses` says which of them guess and which wait for the norm. */
export function unroll(
  plan: Plan,
  trace: Trace,
  layout: Layout,
  steps: number,
  guesses: (step: number) => boolean = () => true,
): Program {
  const momentCount = plan.moments.length;
  const waiting = waitingCourse(plan).tickets;
  const moments: ProgramMoment[] = [];
  const tickets: ProgramTicket[] = [];
  const updates = deviceUpdates(plan);
  let previous: readonly number[] = [];
  for (let step = 0; step < steps; step++) {
    const guess = guesses(step);
    const run = guess ? plan.tickets.filter(({ unlessGuessed }) => unlessGuessed === undefined) : waiting;
    const own = new Map(run.map(({ id }, index) => [id, tickets.length + index]));
    // A ticket that is left out is done when the one that does its work is.
    const index = plan.tickets.map(({ id, unlessGuessed }) => own.get(id) ?? own.get(unlessGuessed!)!);
    const here = (id: number): number => index[id]!;
    const before = (id: number): number => previous[id]!;
    // What a ticket does itself it does not wait for.
    const others = ({ id, after }: Ticket): readonly number[] =>
      guess ? after.filter((earlier) => plan.tickets[earlier]!.unlessGuessed !== id) : after;
    for (const moment of plan.moments) {
      const traced = trace.moments[moment.index]!;
      moments.push({
        step,
        pass: moment.pass,
        microBatch: moment.microBatch,
        seconds: traced.seconds,
        nonModelBytes: traced.nonModelBytes,
        waits: [...moment.waits.map(here), ...(step > 0 ? moment.waitsPrevious.map(before) : [])],
        parameters: moment.parameters,
        gradients: moment.gradients,
        deviceUpdates: moment.deviceUpdates.map((chunk) => updates.get(chunk)!),
      });
    }
    for (const ticket of run) {
      const previousMoment =
        step > 0 && ticket.afterPreviousMoment >= 0 ? (step - 1) * momentCount + ticket.afterPreviousMoment : -1;
      tickets.push({
        step,
        lane: ticket.lane,
        kind: ticket.kind,
        chunk: ticket.chunk,
        cause: ticket.cause,
        bytes: ticket.bytes,
        after: [...others(ticket).map(here), ...(step > 0 ? ticket.afterPrevious.map(before) : [])],
        afterMoment: ticket.afterMoment >= 0 ? step * momentCount + ticket.afterMoment : previousMoment,
        priority: step * momentCount + ticket.priority,
        from: slotIn(ticket.from, step),
        to: slotIn(ticket.to, step),
        stateTo: ticket.stateTo === undefined ? null : slotIn(ticket.stateTo, step),
        gradients: (ticket.gradients ?? []).map((place) => slotIn(place, step)),
        part: ticket.part ?? 0,
        microBatch: ticket.microBatch ?? -1,
        add: ticket.add ?? false,
      });
    }
    previous = index;
  }
  return {
    steps,
    momentsPerStep: momentCount,
    microBatches: trace.microBatches,
    training: plan.mode === 'training',
    types: plan.types,
    layout,
    slotTiers: plan.slots.map((slot) => slot.tier),
    arenaBytes: plan.arenaBytes,
    otherBytes: plan.otherBytes,
    budgets: plan.budgets,
    rest: restContents(plan),
    moments,
    tickets,
  };
}

export function restContents(plan: Pick<Plan, 'chunks' | 'carried'>): RestContent[] {
  const homes = plan.chunks.flatMap(({ chunk, parameter, state }) => [
    { slot: parameter.slot, chunk, kind: 'parameter' as const },
    ...(state === null ? [] : [{ slot: state.slot, chunk, kind: 'state' as const }]),
  ]);
  return [...homes, ...plan.carried.map(({ chunk, slot }) => ({ slot, chunk, kind: 'parameter' as const }))];
}

function deviceUpdates(plan: Plan): Map<ChunkId, DeviceUpdate> {
  const updates = new Map<ChunkId, DeviceUpdate>();
  for (const { chunk, update, parameter, state, gradients } of plan.chunks) {
    if (update !== 'device' || state === null) continue;
    updates.set(chunk, {
      chunk,
      parameter: parameter.slot,
      state: state.slot,
      gradients: gradients.map((place) => place.slot),
    });
  }
  return updates;
}
