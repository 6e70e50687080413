import { otherPlace } from './arenas.ts';
import type { Draft, DraftTicket, Stay } from './draft.ts';
import type { Arrival, EmitContext } from './emitContext.ts';
import { canPreview } from './placeHost.ts';
import type { Place } from './plan.ts';
import type { ChunkUse } from './stepModel.ts';
import { ticketId } from './types.ts';

/**
 * Emits one step's host updates: those that need not wait for the norm in the order their gradients arrive, the deferred ones in
 * the order the next forward needs them. On their lane they then run by that need (earliest deadline first).
 */
export function emitUpdates(context: EmitContext, step: number): void {
  const { model, placement, draft } = context;
  const updated = model.uses.filter((use) => context.arrivals.has(use.chunk.id));
  const deferred = (use: ChunkUse): boolean => placement.chunks[use.chunk.id]!.update === 'deferred';
  const arrived = (use: ChunkUse): number => context.arrivals.get(use.chunk.id)!.moment;
  const early = updated.filter((use) => !deferred(use)).sort((a, b) => arrived(a) - arrived(b));
  const late = updated.filter(deferred).sort((a, b) => a.moments[0]! - b.moments[0]!);
  for (const use of [...early, ...late]) {
    const emit = placement.chunks[use.chunk.id]!.update === 'previewed' ? emitPreviewed : emitUpdate;
    emit(context, use, context.arrivals.get(use.chunk.id)!, step);
  }
  if (model.accumulates && !model.vertical && model.clipping) {
    const norm = draft.moments[step * draft.momentsPerStep + model.normMoment]!;
    for (const { tickets } of context.arrivals.values()) for (const ticket of tickets) norm.waits.push(ticket);
  }
}

function emitUpdate(context: EmitContext, use: ChunkUse, arrival: Arrival, step: number): void {
  const { draft, placement, arenas, rings, model } = context;
  const { id: chunk } = use.chunk;
  const { update, parameterHome, stateHome, gradientRest } = placement.chunks[chunk]!;
  const places = arenas.chunks[chunk]!;
  const norm = step * draft.momentsPerStep + model.normMoment;
  const needed = draft.momentsPerStep + use.moments[0]!;
  const parked = gradientRest === 'nvme';

  let stateRead: DraftTicket | null = null;
  let stateStay: Stay | null = null;
  if (stateHome === 'nvme') {
    const shape = { kind: 'state', chunk, cause: 'state', bytes: use.stateBytes, priority: needed } as const;
    stateRead = draft.add(step, { ...shape, lane: 'read', from: places.state!, to: { slot: rings.state.next() } });
    stateStay = rings.state.take(stateRead);
    draft.afterNewest(stateRead, context.stateReady);
  }
  let gradientStay = arrival.stay;
  let unpark: DraftTicket | null = null;
  if (parked && update === 'deferred') {
    const shape = { kind: 'gradient', chunk, cause: 'park', bytes: use.restingBytes, priority: needed } as const;
    const to = { slot: rings.unpark.next() };
    unpark = draft.add(step, { ...shape, lane: 'read', from: places.gradients[0]!, to });
    gradientStay = rings.unpark.take(unpark);
    unpark.after.push(arrival.park!);
  }
  const outOfGradient = parameterHome === 'nvme' && (model.accumulates || !parked);
  const to = parameterTarget(context, chunk, gradientStay, outOfGradient);
  const from: Place = stateStay === null ? places.state! : { slot: stateStay.slot };
  const ticket = draft.add(step, {
    kind: 'state',
    chunk,
    cause: 'update',
    lane: 'update',
    bytes: 2 * use.stateBytes + use.parts * use.restingBytes + use.parameterBytes,
    priority: needed,
    from,
    stateTo: stateStay === null ? otherPlace(from) : from,
    to,
    gradients: parked ? [{ slot: gradientStay!.slot }] : places.gradients,
  });
  const follows = update === 'speculated' && canPreview(model, placement.chunks[chunk]!);
  const preview = follows ? mayFollow(context, use, arrival, ticket) : null;
  const outStay = outOfGradient ? rings.out.take(ticket) : null;
  for (const index of arrival.tickets) ticket.after.push(index);
  if (stateRead !== null) ticket.after.push(stateRead.index);
  if (unpark !== null) ticket.after.push(unpark.index);
  // In place the new parameter lies over its gradient: the copy kept on disk must be complete first.
  else if (arrival.park !== null) ticket.after.push(arrival.park);
  if (update === 'deferred') draft.afterMoment(ticket, norm);
  if (parked) gradientStay!.freedBy.push(ticket.index);

  if (stateStay !== null) {
    const shape = { kind: 'state', chunk, cause: 'state', bytes: use.stateBytes, priority: needed } as const;
    const write = draft.add(step, { ...shape, lane: 'write', from, to: otherPlace(places.state!) });
    write.after.push(ticket.index);
    stateStay.freedBy.push(write.index);
    context.stateReady.set(chunk, { tickets: [write.index], moment: -1 });
  }
  let homed = preview ?? ticket;
  if (parameterHome === 'nvme') {
    const shape = {
      kind: 'parameter',
      chunk,
      cause: 'home',
      bytes: use.parameterBytes,
      priority: needed - 0.5,
    } as const;
    homed = draft.add(step, { ...shape, lane: 'write', from: to, to: otherPlace(places.parameter) });
    homed.after.push(ticket.index);
    (outStay ?? gradientStay)!.freedBy.push(homed.index);
  }
  // A speculated parameter may be used only once the norm has accepted it.
  context.parameterReady.set(chunk, { tickets: [homed.index], moment: update === 'speculated' ? norm : -1 });
}

/** The new parameter as its unit needs it, and the state by when the next gradient comes. */
function emitPreviewed(context: EmitContext, use: ChunkUse, arrival: Arrival, step: number): void {
  const { draft, arenas, model } = context;
  const { id: chunk } = use.chunk;
  const { state, gradients } = arenas.chunks[chunk]!;
  const norm = step * draft.momentsPerStep + model.normMoment;
  const preview = emitPreview(context, use, arrival, step);
  const update = draft.add(step, {
    kind: 'state',
    chunk,
    cause: 'update',
    lane: 'update',
    bytes: 2 * use.stateBytes + use.parts * use.restingBytes,
    priority: followingPriority(draft, use),
    from: state!,
    stateTo: state!,
    to: state!,
    gradients,
  });
  update.after.push(preview.index);
  draft.afterMoment(update, norm);
  context.stateReady.set(chunk, { tickets: [update.index], moment: -1 });
  context.gradientFree.set(chunk, { tickets: [update.index], moment: -1 });
  context.parameterReady.set(chunk, { tickets: [preview.index], moment: norm });
}

/** By when a state that follows its parameter must be there: the next gradient comes. */
const followingPriority = (draft: Draft, use: ChunkUse): number => draft.momentsPerStep + use.gradients[0]!.moment;

function emitPreview(
  { draft, arenas, stateReady }: EmitContext,
  use: ChunkUse,
  arrival: Arrival,
  step: number,
): DraftTicket {
  const { id: chunk } = use.chunk;
  const { parameter, state, gradients } = arenas.chunks[chunk]!;
  const preview = draft.add(step, {
    kind: 'state',
    chunk,
    cause: 'preview',
    lane: 'update',
    bytes: use.stateBytes + use.parts * use.restingBytes + use.parameterBytes,
    priority: draft.momentsPerStep + use.moments[0]!,
    from: state!,
    to: otherPlace(parameter),
    gradients,
  });
  for (const index of arrival.tickets) preview.after.push(index);
  draft.afterNewest(preview, stateReady);
  return preview;
}

/** A guessed update that becomes, in steps that do not guess, a preview and a state that follows. */
function mayFollow(context: EmitContext, use: ChunkUse, arrival: Arrival, update: DraftTicket): DraftTicket {
  const { draft, stateReady, gradientFree } = context;
  const preview = emitPreview(context, use, arrival, update.step);
  preview.unlessGuessed = ticketId(update.index);
  update.after.push(preview.index);
  draft.afterNewest(update, stateReady);
  stateReady.set(use.chunk.id, { tickets: [update.index], moment: -1 });
  gradientFree.set(use.chunk.id, { tickets: [update.index], moment: -1 });
  return preview;
}

function parameterTarget(
  context: EmitContext,
  chunk: number,
  gradientStay: Stay | null,
  outOfGradient: boolean,
): Place {
  const { placement, arenas, rings } = context;
  if (placement.chunks[chunk]!.parameterHome !== 'nvme') return otherPlace(arenas.chunks[chunk]!.parameter);
  return { slot: outOfGradient ? rings.out.next() : gradientStay!.slot };
}
