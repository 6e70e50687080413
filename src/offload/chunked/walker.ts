/** Hands a plan's tickets to the native executor, one instance per step, and meets it once per moment. */
import { TierraError } from '../../core/errors.ts';
import {
  type ChunkId,
  type ChunkPlan,
  guesses,
  type Layout,
  mayWait,
  momentBlock,
  type Place,
  type Plan,
  type Ticket as PlanTicket,
  type SlotId,
  waitingCourse,
} from '../../memory/index.ts';
import type {
  ArenaElements,
  ArenaPlace,
  DiskTicket,
  ExecutorId,
  Ticket,
  TicketId,
  UpdateSegment,
} from '../../native/binding.ts';
import { native } from '../../native/load.ts';
import { compressedPlanes } from '../compressedPlanes.ts';
import { cudaIndex } from '../device.ts';
import type { ParkingLanes } from '../parking/parking.ts';
import { ExecutorSave, type SaveBlock, type SaveRequest, saveTickets } from '../saving.ts';
import type { UpdateSettings } from '../store.ts';
import { arrivals } from './glancing.ts';
import type { Homes } from './homes.ts';
import type { Issued } from './report.ts';
import type { Tiers } from './tiers.ts';

export interface WalkerOptions {
  readonly plan: Plan;
  readonly layout: Layout;
  readonly tiers: Tiers;
  readonly homes: Homes;
  /** `c10::ScalarType` of parameters and gradients, and of states and sums. */
  readonly computeCode: number;
  readonly stateCode: number;
  readonly device: string;
  readonly updateThreads: number;
}

/**
 * Scale cells take turns: the tickets of a step are long done when its cells come round again. Cell i holds the gradient
 * scale of a step once its norm is known, cell `cells + i` what is guessed before: that nothing will be clipped. Cell
 * `2 * cells + i` holds that scale too, once no preview of the step has to be made again: states follow then.
 */
const cells = 4;

/** Moments within which all tickets of a step are handed over: translating them takes the host's time, while the device computes. */
const handOverMoments = 16;
/** Fewer at once are not worth a call. */
const leastHandedOver = 16;

/** Of the newest instance, in the order of handing over; those before `at` are handed over. */
interface Rest {
  readonly order: readonly number[];
  at: number;
  readonly settings: UpdateSettings;
}

/** An order of submission, in two parts: fetches that wait for nothing of their own step, and the rest. */
interface Order {
  readonly early: readonly number[];
  readonly late: readonly number[];
  readonly all: readonly number[];
}

/** A step's tickets in the executor. */
interface Instance {
  /** Id by plan ticket; 0: does not exist. A ticket that is left out has an id, too, as if it were done. */
  readonly ids: Float64Array;
  readonly order: readonly number[];
  /** Guesses, where it can, that nothing is clipped. */
  readonly guess: boolean;
}

export class Walker {
  readonly #options: WalkerOptions;
  /** Of steps that guess, and of those in which states follow their parameters instead. */
  readonly #orders: { readonly guessing: Order; readonly waiting: Order };
  /** Updates that do their preview's work where the step guesses. */
  readonly #mayFollow: ReadonlySet<number>;
  /** The first part of the next instance is handed over. */
  #early = false;
  readonly #mayWait: ReadonlySet<ChunkId>;
  #executor: ExecutorId;
  #now: Instance;
  #before: Instance;
  #earlier: Instance;
  #nextId = 1;
  #firstId = 1;
  #rest: Rest | null = null;
  /** Instances begun in this executor. */
  #instances = 0;
  #step = 0;
  /** The checkpoint under way, or the last one. */
  #save: ExecutorSave | null = null;
  /** By slot: copies for that checkpoint after which the slot may be overwritten. */
  readonly #guards = new Map<SlotId, readonly TicketId[]>();
  /** The newest moment that was reached, over all instances. */
  #lastMoment = -1;

  constructor(options: WalkerOptions) {
    this.#options = options;
    const { tickets } = options.plan;
    this.#orders = { guessing: orderOf(tickets), waiting: orderOf(waitingCourse(options.plan).tickets) };
    this.#mayFollow = new Set(tickets.flatMap(({ unlessGuessed }) => unlessGuessed ?? []));
    this.#mayWait = mayWait(options.plan);
    this.#executor = this.#create();
    this.#now = { ids: new Float64Array(tickets.length), order: this.#orders.guessing.all, guess: true };
    this.#before = { ...this.#now, ids: new Float64Array(tickets.length) };
    this.#earlier = this.#before;
  }

  get executor(): ExecutorId {
    return this.#executor;
  }

  /** The newest instance's tickets, for reading the timeline. */
  get issued(): Issued {
    return { executor: this.#executor, firstId: this.#firstId, ...this.#now };
  }

  #create(): ExecutorId {
    const { device, updateThreads } = this.#options;
    const index = cudaIndex(device);
    return native().executorCreate({ device: index, updateThreads, scaleCells: 3 * cells, timelineCapacity: 1 << 16 });
  }

  /**
   * Starts the instance of optimizer step `step`: from now on its tickets run as their turn comes. Where not `guess`, updates
   * that may wait for the norm do. What `beginEarly` was told holds.
   */
  begin(step: number, settings: UpdateSettings, guess: boolean): void {
    if (!this.#early) this.#startInstance(this.#orderOf(guess).all, guess);
    const order = this.#early ? this.#orderOf(this.#now.guess).late : this.#now.order;
    this.#early = false;
    this.#step = step;
    this.#instances++;
    native().clearScale(this.#executor, this.#cell);
    native().clearScale(this.#executor, 2 * cells + this.#cell);
    native().setScale(this.#executor, cells + this.#cell, guessedScale(settings));
    this.#rest = { order, at: 0, settings };
    this.#handOverMore();
  }

  #orderOf(guess: boolean): Order {
    return guess ? this.#orders.guessing : this.#orders.waiting;
  }

  /** The next tickets of the step: the most urgent first. */
  #handOverMore(): void {
    if (this.#rest === null) return;
    const { order, at, settings } = this.#rest;
    const count = Math.max(leastHandedOver, Math.ceil(order.length / handOverMoments));
    this.#rest.at += count;
    if (this.#rest.at >= order.length) this.#rest = null;
    this.#handOver(order.slice(at, at + count), settings, this.#instances - 1);
  }

  #handOverAll(): void {
    while (this.#rest !== null) this.#handOverMore();
  }

  /** Ids of plan tickets of the newest instance, which are handed over if they were not yet. */
  #idsOf(tickets: readonly number[]): TicketId[] {
    while (this.#rest !== null && tickets.some((ticket) => this.#now.ids[ticket] === 0)) this.#handOverMore();
    return tickets.map((ticket) => this.#now.ids[ticket]! as TicketId);
  }

  /**
   * The step is over: the first fetches of the next one start. They ask for nothing but this step, so that they are as good
   * when their step begins, unless something else uses the GPU's slots before it: see `forgetEarly`.
   */
  beginEarly(guess: boolean): void {
    const { early, late } = this.#orderOf(guess);
    if (this.#early || early.length === 0) return;
    this.#startInstance([...early, ...late], guess);
    this.#early = true;
    this.#step++;
    this.#handOver(early, null, this.#instances);
  }

  /** Everything handed over is done, and slots are about to be used by others: the next step fetches again. */
  forgetEarly(): void {
    if (!this.#early) return;
    this.#early = false;
    this.#now = this.#before;
    this.#before = this.#earlier;
    this.#step--;
  }

  get isEarly(): boolean {
    return this.#early;
  }

  /** Waits for the fetches of the next step, or for all that came before them. */
  settleEarly(which: 'fetches' | 'before'): void {
    const fetches = this.#orderOf(this.#now.guess).early.map((index) => this.#now.ids[index]!);
    const ids = which === 'fetches' ? fetches : [...this.#before.ids].filter((id) => id > 0);
    if (this.#early) native().wait(this.#executor, ids as TicketId[], 'drain');
  }

  #startInstance(order: readonly number[], guess: boolean): void {
    this.#earlier = this.#before;
    this.#before = this.#now;
    this.#now = { ids: new Float64Array(order.length), order, guess };
    this.#firstId = this.#nextId;
  }

  #handOver(order: readonly number[], settings: UpdateSettings | null, instance: number): void {
    const tickets: Ticket[] = [];
    for (const index of order) {
      const ticket = this.#options.plan.tickets[index]!;
      const id = this.#nextId++;
      this.#now.ids[index] = id;
      if (this.#standIn(ticket.id, this.#now) !== ticket.id) continue;
      tickets.push(this.#translate(ticket, id as TicketId, settings, instance));
    }
    native().submit(this.#executor, tickets);
  }

  /** Whether the chunk's update was made before the norm was known. */
  hasGuessed(chunk: ChunkId): boolean {
    return this.#now.guess || !this.#mayWait.has(chunk);
  }

  /** The ticket that does this one's work in that step: mostly itself. */
  #standIn(index: number, { guess }: Instance): number {
    const { unlessGuessed } = this.#options.plan.tickets[index]!;
    return guess ? (unlessGuessed ?? index) : index;
  }

  /** Scale cell of the newest instance. */
  get #cell(): number {
    return (this.#instances - 1) % cells;
  }

  /** Moments of this instance are numbered from here. */
  get #firstMoment(): number {
    return (this.#instances - 1) * this.#options.plan.moments.length;
  }

  /** For tickets that belong to no plan. */
  readonly beside: ParkingLanes = {
    nextId: () => this.#nextId++ as TicketId,
    submit: (tickets) => native().submit(this.#executor, tickets),
    wait: (ticket) => void native().wait(this.#executor, [ticket], 'activation'),
    mark: () => {
      if (this.#lastMoment >= 0) native().reachMoment(this.#executor, this.#lastMoment);
      return this.#lastMoment;
    },
  };

  /** Waits for what moment `index` needs; returns milliseconds blocked. */
  enter(index: number): number {
    const { pass, waits, waitsPrevious } = this.#options.plan.moments[index]!;
    if (pass === 'norm') this.#handOverAll();
    const ids = this.#idsOf(waits);
    if (this.#instances > 1) for (const ticket of waitsPrevious) ids.push(this.#before.ids[ticket]! as TicketId);
    this.#awaitCopies(index);
    return ids.length === 0 ? 0 : native().wait(this.#executor, ids, `moment ${index}`);
  }

  /** Waits for the parameters of moment `index`, and for nothing else that it needs. */
  awaitParameters(index: number): void {
    const { plan } = this.#options;
    const ids = this.#idsOf(arrivals(plan, plan.moments[index]!));
    if (ids.length > 0) native().wait(this.#executor, ids, `moment ${index}`);
  }

  /** What moment `index` overwrites on the compute device must have been copied for the checkpoint. */
  #awaitCopies(index: number): void {
    if (this.#guards.size === 0) return;
    const { plan, homes } = this.#options;
    const { gradients, deviceUpdates } = plan.moments[index]!;
    const updated = deviceUpdates.flatMap((chunk) => {
      const { parameter, state } = plan.chunks[chunk]!;
      return [parameter, ...(state === null ? [] : [state])].map((place) => homes.slotOf(chunk, place));
    });
    const slots = [...gradients.map(({ slot }) => slot), ...updated];
    const ids = [...new Set(slots.flatMap((slot) => this.#guards.get(slot) ?? []))];
    this.#save?.await(ids);
  }

  /** Tickets of the newest instance that move `chunk`. */
  ticketsOf(chunk: ChunkId): TicketId[] {
    if (this.#instances === 0) return [];
    // The first fetches of the next step are no more than that.
    const { ids } = this.#early ? this.#before : this.#now;
    const own = this.#options.plan.tickets.filter((ticket) => ticket.chunk === chunk).map(({ id }) => ids[id]!);
    return own.filter((id) => id > 0) as TicketId[];
  }

  /** The last moment of the newest instance, or -1. */
  get lastMoment(): number {
    return this.#instances * this.#options.plan.moments.length - 1;
  }

  /** Begins a checkpoint; from now on who overwrites one of the slots waits for its copy. */
  save(placed: readonly { readonly block: SaveBlock; readonly slot: SlotId }[], request: SaveRequest): ExecutorSave {
    this.settleSave();
    const nextId = (): TicketId => this.#nextId++ as TicketId;
    const { tickets, copies, last } = saveTickets(
      placed.map(({ block }) => block),
      request,
      nextId,
    );
    native().submit(this.#executor, tickets);
    for (const [index, { slot }] of placed.entries()) this.#guards.set(slot, copies[index]!);
    this.#save = new ExecutorSave(this.#executor, last);
    return this.#save;
  }

  /** Waits until the checkpoint under way, if any, needs nothing any more. */
  settleSave(): void {
    this.#save?.settle();
    this.#guards.clear();
  }

  /** Waits for every plan ticket handed over, but not for a checkpoint; throws the first failure there ever was. */
  settle(): void {
    const all = [...(this.#instances > 1 ? this.#before.ids : []), ...(this.#instances > 0 ? this.#now.ids : [])];
    const ids = all.filter((id) => id > 0);
    if (ids.length > 0) native().wait(this.#executor, ids as TicketId[], 'drain');
    const failed = native().failed(this.#executor);
    if (failed !== null) throw failed;
  }

  /** What comes now is the compute of the moment that is left next. */
  beginCompute(): void {
    native().beginMoment(this.#executor);
  }

  /** What the executor calls moment `index` of the newest instance. */
  momentId(index: number): number {
    return this.#firstMoment + index;
  }

  /** The compute of moment `index` is done (or on its stream). */
  leave(index: number): void {
    this.#lastMoment = this.momentId(index);
    native().reachMoment(this.#executor, this.#lastMoment);
    this.#handOverMore();
  }

  /** Waits until these plan tickets of the newest instance are done. */
  waitFor(tickets: Iterable<PlanTicket>, cause: string): void {
    const ids = this.#idsOf(Array.from(tickets, ({ id }) => id));
    if (ids.length > 0) native().wait(this.#executor, ids, cause);
  }

  /** Waits until the gradients of the micro-batches before `microBatch` are summed where they rest. */
  waitForSums(microBatch: number): void {
    const { tickets } = this.#options.plan;
    this.waitFor(
      tickets.filter((ticket) => ticket.kind === 'gradient' && (ticket.microBatch ?? -1) < microBatch),
      'sums',
    );
  }

  /** The factor for this step's gradients: deferred updates go once it is set. */
  setScale(value: number): void {
    native().setScale(this.#executor, this.#cell, value);
  }

  /** The same for states whose parameters were previewed: every preview is right. */
  setStateScale(value: number): void {
    native().setScale(this.#executor, 2 * cells + this.#cell, value);
  }

  /** Waits for everything handed over that `setStateScale` does not hold back. */
  drainBeforeStates(): void {
    const { tickets } = this.#options.plan;
    this.settlePrevious();
    this.waitFor(
      tickets.filter((ticket) => !this.#followsPreview(ticket)),
      'redo',
    );
  }

  /** An update of a state whose parameter was made before. */
  #followsPreview({ id, cause, chunk }: PlanTicket): boolean {
    if (this.#mayFollow.has(id)) return !this.#now.guess;
    return cause === 'update' && this.#options.plan.chunks[chunk]!.update === 'previewed';
  }

  /**
   * Runs tickets of the newest instance again, now, with the gradient scale of the step. Old states are intact;
   * a gradient that its update has overwritten in staging is read again from where it was parked.
   */
  again(tickets: readonly PlanTicket[], settings: UpdateSettings): void {
    const { plan } = this.#options;
    const chosen = new Set(tickets.map(({ id }) => id));
    /** By plan ticket, what stands for it here. One that is not run again hands on what it waits for: slots change hands in the same order. */
    const standIns = new Map<number, readonly TicketId[]>();
    const copies: Ticket[] = [];
    for (const index of this.#orders.guessing.all) {
      const ticket = plan.tickets[index]!;
      const after = [...new Set(ticket.after.flatMap((earlier) => standIns.get(earlier)!))];
      if (!chosen.has(ticket.id)) {
        standIns.set(ticket.id, after);
        continue;
      }
      const copy = this.#translate(ticket, 0 as TicketId, settings, 0);
      const unpark = 'rule' in copy ? this.#unpark(ticket, after) : [];
      const id = this.#nextId++ as TicketId;
      standIns.set(ticket.id, [id]);
      const scaled = 'rule' in copy ? { scaleCell: this.#cell } : {};
      const waits = [...after, ...unpark.map((read) => read.id)];
      copies.push(...unpark, { ...copy, ...scaled, id, after: waits, afterMoment: -1, afterCell: -1 });
    }
    native().submit(this.#executor, copies);
    const ids = copies.map(({ id }) => id);
    native().wait(this.#executor, ids, 'redo');
  }

  /** Reads of the gradients of an update that rest on disk. */
  #unpark({ chunk, gradients = [] }: PlanTicket, after: readonly TicketId[]): DiskTicket[] {
    const { plan, tiers, homes } = this.#options;
    const rest = plan.chunks[chunk]!.gradients[0];
    if (rest === undefined || tiers.slot(rest.slot).tier !== 'nvme') return [];
    const { swap, swapOffset } = tiers.extent(rest.slot);
    const { arena, offset } = tiers.memory(homes.slotOf(chunk, gradients[0]!));
    const bytes = tiers.slot(rest.slot).bytes;
    const place = { swap, swapOffset, arena, arenaOffset: offset, bytes, chunk, step: this.#step + 1 };
    const id = this.#nextId++ as TicketId;
    return [{ ...place, lane: 'read', id, after, afterMoment: -1, afterCell: -1, cause: 'park' }];
  }

  /** Waits for the tickets of the instance before the newest. */
  settlePrevious(): void {
    if (this.#instances < 2) return;
    native().wait(this.#executor, Array.from(this.#before.ids) as TicketId[], 'settle');
  }

  /** Throws away what has not started, after the checkpoint under way, and begins anew with an empty executor. */
  reset(): void {
    this.settleSave();
    native().executorDestroy(this.#executor);
    this.#executor = this.#create();
    this.#instances = 0;
    this.#rest = null;
    this.#nextId = 1;
    this.#lastMoment = -1;
    this.#early = false;
  }

  dispose(): void {
    native().executorDestroy(this.#executor);
  }

  #translate(ticket: PlanTicket, id: TicketId, settings: UpdateSettings | null, instance: number): Ticket {
    const { plan, homes } = this.#options;
    const idIn = (of: Instance, earlier: number): TicketId => of.ids[this.#standIn(earlier, of)]! as TicketId;
    // What it does itself it does not wait for.
    const others = ticket.after.filter((earlier) => this.#standIn(earlier, this.#now) !== ticket.id);
    const after = others.map((earlier) => idIn(this.#now, earlier));
    let afterMoment = -1;
    const base = instance * plan.moments.length;
    if (ticket.afterMoment >= 0) afterMoment = base + ticket.afterMoment;
    if (instance > 0) {
      for (const earlier of ticket.afterPrevious) after.push(idIn(this.#before, earlier));
      if (ticket.afterMoment < 0 && ticket.afterPreviousMoment >= 0) {
        afterMoment = base - plan.moments.length + ticket.afterPreviousMoment;
      }
    }
    const chunk = ticket.chunk;
    for (const slot of this.#overwritten(ticket)) after.push(...(this.#guards.get(slot) ?? []));
    const common = { id, after, afterMoment, afterCell: -1, cause: ticket.cause, chunk };
    const at = (place: Place): ArenaPlace => this.#options.tiers.memory(homes.slotOf(chunk, place));
    switch (ticket.lane) {
      case 'read':
      case 'write': {
        const [disk, memory] = ticket.lane === 'read' ? [ticket.from, ticket.to] : [ticket.to, ticket.from];
        const { swap, swapOffset } = this.#options.tiers.extent(homes.slotOf(chunk, disk));
        const { arena, offset } = at(memory);
        return {
          ...common,
          lane: ticket.lane,
          swap,
          swapOffset,
          arena,
          arenaOffset: offset,
          bytes: ticket.bytes,
          step: this.#stampFor(ticket),
        };
      }
      case 'toDevice':
      case 'toHost': {
        const [from, to] = [at(ticket.from), at(ticket.to)];
        const places = { source: from.arena, sourceOffset: from.offset, target: to.arena, targetOffset: to.offset };
        return { ...common, ...places, lane: ticket.lane, bytes: ticket.bytes, step: this.#step };
      }
      case 'update':
        return ticket.cause === 'accumulate'
          ? { ...common, ...this.#accumulation(ticket, at) }
          : { ...common, ...this.#update(ticket, at, settings!) };
    }
  }

  /** Slots that the ticket writes. */
  #overwritten({ chunk, cause, to, from, stateTo }: PlanTicket): SlotId[] {
    if (this.#guards.size === 0) return [];
    const { homes } = this.#options;
    const places = cause === 'update' ? [to, stateTo ?? from] : [to];
    return places.map((place) => homes.slotOf(chunk, place));
  }

  #stampFor({ kind, lane, chunk }: PlanTicket): number {
    if (kind === 'gradient') return this.#step + 1;
    return lane === 'write' ? this.#step + 1 : this.#options.homes.stamp(chunk, kind);
  }

  #accumulation(ticket: PlanTicket, at: (place: Place) => ArenaPlace) {
    const { layout, computeCode, stateCode } = this.#options;
    return {
      lane: 'update' as const,
      step: this.#step,
      count: layout.chunks[ticket.chunk]!.elements,
      into: { ...at(ticket.to), dtype: stateCode },
      from: { ...at(ticket.from), dtype: computeCode },
      add: ticket.add ?? false,
    };
  }

  #update(ticket: PlanTicket, at: (place: Place) => ArenaPlace, settings: UpdateSettings) {
    const { layout, plan, computeCode, stateCode } = this.#options;
    const chunk = layout.chunks[ticket.chunk]!;
    const follows = this.#followsPreview(ticket);
    const [state, stateOut] = [at(ticket.from), at(ticket.stateTo ?? ticket.from)];
    const inPlace = state.arena === stateOut.arena && state.offset === stateOut.offset;
    return {
      lane: 'update' as const,
      step: this.#step,
      rule: settings.rule,
      count: chunk.elements,
      gradients: gradientOrder(ticket).map((place): ArenaElements => ({ ...at(place), dtype: this.#gradientCode() })),
      state: { ...state, dtype: plan.types.states === 'compressed' ? computeCode : stateCode },
      planes: compressedPlanes(chunk, plan.types),
      stateOut: inPlace ? null : stateOut,
      parameterOut: follows ? null : { ...at(ticket.to), dtype: computeCode },
      segments: segmentsOf(layout, ticket.chunk),
      groups: settings.groups,
      scaleCell: follows ? 2 * cells + this.#cell : this.#scaleCell(plan.chunks[ticket.chunk]!),
      preview: ticket.cause === 'preview',
    };
  }

  #scaleCell({ chunk, update }: ChunkPlan): number {
    const waits = update === 'deferred' || (guesses(update) && !this.hasGuessed(chunk));
    return waits ? this.#cell : cells + this.#cell;
  }

  /** Gradients rest as sums in the state's type where there are several micro-batches. */
  #gradientCode(): number {
    const { plan, computeCode, stateCode } = this.#options;
    return accumulates(plan) ? stateCode : computeCode;
  }
}

/** The gradient scale of a step that is not clipped. */
export function guessedScale({ lossScale }: UpdateSettings): number {
  return 1 / lossScale;
}

export function accumulates(plan: Plan): boolean {
  return (
    plan.moments.some(({ microBatch }) => microBatch > 0) ||
    plan.moments.some(({ gradients, microBatch }) => microBatch < 0 && gradients.length > 0)
  );
}

/** Uses are summed latest first, as backward met them. */
function gradientOrder(ticket: PlanTicket): readonly Place[] {
  return [...(ticket.gradients ?? [])].reverse();
}

/** One segment per parameter: what lies between them is padding and stays zero. */
export function segmentsOf(layout: Layout, chunk: ChunkId): UpdateSegment[] {
  let firstScale = 0;
  return layout.chunks[chunk]!.parameters.map(({ offset, elements, group }) => {
    const segment = { begin: offset, count: elements, group, firstScale };
    firstScale += Math.ceil(elements / momentBlock);
    return segment;
  });
}

/** Fetches that may start as soon as the step before is over: they wait for no moment and nothing but each other. */
function earlyFetches(tickets: readonly PlanTicket[], order: readonly number[]): ReadonlySet<number> {
  const early = new Set<number>();
  for (const index of order) {
    const { cause, afterMoment, after } = tickets[index]!;
    if (cause === 'fetch' && afterMoment < 0 && after.every((earlier) => early.has(earlier))) early.add(index);
  }
  return early;
}

function orderOf(tickets: readonly PlanTicket[]): Order {
  const all = submissionOrder(tickets);
  const isEarly = earlyFetches(tickets, all);
  return { early: all.filter((index) => isEarly.has(index)), late: all.filter((index) => !isEarly.has(index)), all };
}

/** Every ticket after what it waits for, and urgent ones early. */
function submissionOrder(tickets: readonly PlanTicket[]): number[] {
  const waiting = tickets.map(({ after }) => after.length);
  const dependents: number[][] = tickets.map(() => []);
  for (const ticket of tickets) for (const earlier of ticket.after) dependents[earlier]!.push(ticket.id);
  const ready = tickets.filter(({ id }) => waiting[id] === 0).map(({ id }) => id as number);
  const before = (a: number, b: number): number => tickets[a]!.priority - tickets[b]!.priority || a - b;
  ready.sort(before);
  const order: number[] = [];
  while (ready.length > 0) {
    const next = ready.shift()!;
    order.push(next);
    for (const dependent of dependents[next]!) {
      waiting[dependent]!--;
      if (waiting[dependent] !== 0) continue;
      let position = ready.findIndex((other) => before(dependent, other) < 0);
      if (position < 0) position = ready.length;
      ready.splice(position, 0, dependent);
    }
  }
  if (order.length !== tickets.length)
    throw new TierraError('E_INTERNAL', 'the plan has tickets that wait for each other');
  return order;
}
