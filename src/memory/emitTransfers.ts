import type { DraftMoment, DraftTicket } from './draft.ts';
import type { Arrival, EmitContext } from './emitContext.ts';
import type { Place } from './plan.ts';
import type { Lease } from './slotPool.ts';
import type { ChunkUse, GradientUse } from './stepModel.ts';
import type { Moment } from './trace.ts';
import type { SlotId } from './types.ts';

const at = (slot: SlotId): Place => ({ slot });

/** Emits one step's moments, with the fetches they wait for and the gradients they leave. */
export function emitTransfers(context: EmitContext, step: number): void {
  const { model, draft } = context;
  const gradientsAt = model.trace.moments.map(() => [] as [ChunkUse, GradientUse][]);
  for (const use of model.uses)
    for (const gradient of use.gradients) gradientsAt[gradient.moment]!.push([use, gradient]);
  context.arrivals.clear();
  for (const traced of model.trace.moments) {
    const now = step * model.trace.moments.length + traced.index;
    const moment = draftMoment(context, traced, step);
    draft.moments.push(moment);
    for (const chunk of new Set(traced.chunks)) bringParameter(context, moment, model.uses[chunk]!, now);
    for (const [use, gradient] of gradientsAt[traced.index]!) leaveGradient(context, moment, use, gradient, now);
  }
}

function draftMoment({ model, placement }: EmitContext, traced: Moment, step: number): DraftMoment {
  const { index, pass, unit, microBatch } = traced;
  const onDevice = model.uses.filter((use) => placement.chunks[use.chunk.id]!.update === 'device');
  return {
    index,
    pass,
    unit,
    microBatch,
    step,
    waits: [],
    waitsPrevious: [],
    parameters: [],
    gradients: [],
    deviceUpdates: pass === 'update' ? onDevice.map((use) => use.chunk.id) : [],
  };
}

function bringParameter(context: EmitContext, moment: DraftMoment, use: ChunkUse, now: number): void {
  const { arenas, stays } = context;
  const { id: chunk } = use.chunk;
  const { gpuSlot, parameter } = arenas.chunks[chunk]!;
  const lease = gpuSlot === null ? stays.parameter(chunk, now) : null;
  const slot = gpuSlot ?? stays.slot(lease!);
  moment.parameters = [...moment.parameters, { chunk, slot }];
  const livesHere = gpuSlot !== null && gpuSlot === parameter.slot;
  const arrives = lease === null ? moment.index === use.moments[0] : lease.start === now;
  if (livesHere || !arrives) return;
  const ticket = emitFetch(context, use, slot, now, moment.step);
  if (lease !== null) afterPreviousStay(context, ticket, lease);
  moment.waits.push(ticket.index);
}

/** From home to the GPU; from disk in two legs. A resident chunk's slot is free: its own gradient left it before the update. */
function emitFetch(context: EmitContext, use: ChunkUse, slot: SlotId, now: number, step: number): DraftTicket {
  const { draft, arenas, placement, rings } = context;
  const { id: chunk } = use.chunk;
  const { parameter } = arenas.chunks[chunk]!;
  const priority = now - step * draft.momentsPerStep;
  const shape = { kind: 'parameter', chunk, cause: 'fetch', bytes: use.parameterBytes, priority } as const;
  if (placement.chunks[chunk]!.parameterHome !== 'nvme') {
    const ticket = draft.add(step, { ...shape, lane: 'toDevice', from: parameter, to: at(slot) });
    afterHomeIsReady(context, ticket, use, now);
    return ticket;
  }
  const read = draft.add(step, { ...shape, lane: 'read', from: parameter, to: at(rings.fetch.next()) });
  const stay = rings.fetch.take(read);
  afterHomeIsReady(context, read, use, now);
  const ticket = draft.add(step, { ...shape, lane: 'toDevice', from: at(stay.slot), to: at(slot) });
  ticket.after.push(read.index);
  stay.freedBy.push(ticket.index);
  return ticket;
}

function afterHomeIsReady(context: EmitContext, ticket: DraftTicket, use: ChunkUse, now: number): void {
  const { draft, parameterReady, lead } = context;
  if (lead !== Number.POSITIVE_INFINITY) draft.afterMoment(ticket, now - lead);
  if (use.parts === 0) return;
  draft.afterNewest(ticket, parameterReady);
}

function afterPreviousStay({ draft, stays }: EmitContext, ticket: DraftTicket, lease: Lease): void {
  if (lease.previous !== null) draft.after(ticket, stays.release(lease.previous));
  else draft.afterPrevious(ticket, () => stays.release(stays.last(lease)));
}

/** Says where a moment writes a gradient and, unless it stays on the GPU, sends it away. */
function leaveGradient(
  context: EmitContext,
  moment: DraftMoment,
  use: ChunkUse,
  gradient: GradientUse,
  now: number,
): void {
  const { arenas, placement, draft, stays, model } = context;
  const { id: chunk } = use.chunk;
  const { part, microBatch, takesOver } = gradient;
  const places = arenas.chunks[chunk]!;
  const write = (slot: SlotId, bytes: number, add: boolean): void => {
    moment.gradients = [...moment.gradients, { chunk, slot, bytes, part, add }];
  };
  if (placement.chunks[chunk]!.update === 'device') {
    write(places.gradients[part]!.slot, use.restingBytes, model.accumulates && microBatch > 0);
    return;
  }
  const lease = takesOver
    ? places.gpuSlot === null
      ? stays.parameter(chunk, now)
      : null
    : stays.gradient(chunk, part, now);
  const slot = lease === null ? places.gpuSlot! : stays.slot(lease);
  write(slot, use.leavingBytes, false);
  if (lease !== null && !takesOver) momentAfterPreviousStay(context, moment, lease);
  const leaving = emitLeaving(context, use, gradient, slot, now, moment.step);
  if (lease !== null) stays.leaving.set(lease, leaving.index);
  draft.afterMoment(leaving, now);
}

/** A gradient's own slot must be empty before the moment that writes it begins. */
function momentAfterPreviousStay({ draft, stays }: EmitContext, moment: DraftMoment, lease: Lease): void {
  if (lease.previous !== null) {
    for (const ticket of stays.release(lease.previous).tickets) moment.waits.push(ticket);
  } else if (draft.cyclic) {
    draft.atEnd(() => {
      for (const ticket of stays.release(stays.last(lease)).tickets) moment.waitsPrevious.push(ticket);
    });
  }
}

function emitLeaving(
  context: EmitContext,
  use: ChunkUse,
  gradient: GradientUse,
  slot: SlotId,
  now: number,
  step: number,
): DraftTicket {
  const { draft, arenas, placement, rings, model } = context;
  const { id: chunk } = use.chunk;
  const { part, microBatch } = gradient;
  const { gradientRest, update } = placement.chunks[chunk]!;
  const arrival: Arrival = context.arrivals.get(chunk) ?? { tickets: [], stay: null, park: null, moment: now };
  context.arrivals.set(chunk, arrival);
  arrival.moment = now;
  const priority = now - step * draft.momentsPerStep;
  const shape = { kind: 'gradient', chunk, bytes: use.leavingBytes, priority, part, microBatch } as const;
  const leave = (to: SlotId | Place): DraftTicket =>
    draft.add(step, {
      ...shape,
      cause: 'gradient',
      lane: 'toHost',
      from: at(slot),
      to: typeof to === 'number' ? at(to) : to,
    });
  if (gradientRest === 'nvme') {
    const ticket = leave(rings.gradient.next());
    arrival.stay = rings.gradient.take(ticket);
    arrival.tickets.push(ticket.index);
    if (update === 'immediate') return ticket;
    const rest = arenas.chunks[chunk]!.gradients[0]!;
    const parking = { ...shape, cause: 'park', lane: 'write', from: at(arrival.stay.slot), to: rest } as const;
    const park = draft.add(step, parking);
    park.after.push(ticket.index);
    arrival.park = park.index;
    arrival.stay.freedBy.push(park.index);
    return ticket;
  }
  const rest = arenas.chunks[chunk]!.gradients[part]!;
  if (!model.accumulates || model.vertical) {
    const ticket = leave(rest);
    // Where the state follows the parameter, the last step's gradient may still be needed in a place of its own.
    if (rest.slot !== arenas.chunks[chunk]!.parameter.slot) draft.afterNewest(ticket, context.gradientFree);
    arrival.tickets.push(ticket.index);
    return ticket;
  }
  const ticket = leave(rings.accumulate.next());
  const stay = rings.accumulate.take(ticket);
  const traffic = use.leavingBytes + (microBatch > 0 ? 2 : 1) * use.restingBytes;
  const sum = draft.add(step, {
    ...shape,
    cause: 'accumulate',
    lane: 'update',
    bytes: traffic,
    from: at(stay.slot),
    to: rest,
    add: microBatch > 0,
  });
  sum.after.push(ticket.index);
  draft.afterNewest(sum, context.gradientFree);
  // Micro-batches are added in ascending order: the sum has one order of operations.
  const before = arrival.tickets.findIndex((index) => draft.tickets[index]!.part === part);
  if (before >= 0) sum.after.push(arrival.tickets.splice(before, 1)[0]!);
  stay.freedBy.push(sum.index);
  arrival.tickets.push(sum.index);
  return ticket;
}
