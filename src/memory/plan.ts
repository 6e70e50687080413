/**
 * A plan: one steady-state step as plain JSON, complete enough that a runner decides nothing.
 *
 * How a runner walks it
 * ---------------------
 * 1. Take one arena per tier of `arenaBytes[tier]`; slot `i` is the byte range `slots[i]`. Nothing else is allocated.
 * 2. Bring every chunk to its rest place (`chunks[c]`: the parameter's and the state's home), and the copies
 *    that `carried` lists to their GPU slots. That is how each step begins.
 * 3. For step s = 0, 1, ...: hand the native executor a copy ("instance s") of `tickets`, at the latest when step
 *    s-1 reaches its last backward moments, and let the compute stream walk `moments` in order:
 *      a. wait for `moment.waits` of this instance and `moment.waitsPrevious` of instance s-1;
 *      b. `moment.parameters` says in which slot each chunk lies; point the parameters' views there and compute;
 *      c. write the gradients where `moment.gradients` says: cast to `bytes`, padding zero. `add` adds to what is there.
 *         A gradient slot may equal the parameter's slot: the parameter is dead once the unit's gradients exist.
 *      d. `moment.deviceUpdates`: update these chunks on the device (only in the `update` moment).
 *      e. mark the moment done (an event on the compute stream).
 * 4. A ticket of instance s may start when its `after` tickets (instance s) and `afterPrevious` tickets (instance s-1) are
 *    complete and moments up to `afterMoment` (step s) and `afterPreviousMoment` (step s-1) are done; -1 asks for
 *    nothing. In the first instance of a plan everything "previous" counts as done. Moments are ordered, so one number says it.
 *    Each lane runs one ticket at a time: of the ready ones the smallest `instance × moments.length + priority`.
 *    Any other choice is correct too, only slower: every slot conflict is an edge, so no order deadlocks or overwrites.
 * 5. The step is over when its last moment is done; its tickets may still run (updates behind the next forward). To stop,
 *    checkpoint or change plans: wait for all tickets of the last instance; then everything is at its rest place again.
 *
 * Two places for one thing: a `Place` with `alternate` names two slots. `slot` is meant while the chunk's flip bit is 0,
 * `alternate` while it is 1. The bits of all chunks with `flips` turn when the step is committed, after its `norm` moment accepted
 * it. Tickets of instance s use the bits as they were when step s began, also those that finish later.
 *
 * A runner may guess in one step, that nothing will be clipped, and wait for the norm in the next: guessed.ts says what changes.
 *
 * Rejection (the norm disagrees, or an overflow): every `speculated` update and every preview of this step is void. Its inputs are
 * intact: gradient and old state lie in their slots (or on disk, in the extents not written). Run the same tickets again with the
 * right scale, before any state is updated whose parameter was previewed; or, to skip the step, leave the bits alone and cast the
 * parameters again from the master into place.
 */
import type { Pass } from './trace.ts';
import type { ChunkId, ElementBytes, Kind, PerTier, SlotId, TicketId, Tier } from './types.ts';

/** `read`: disk to host. `write`: host to disk. `toDevice`, `toHost`: over the link. `update`: host optimizer threads. */
export type Lane = 'read' | 'write' | 'toDevice' | 'toHost' | 'update';
export const lanes: readonly Lane[] = ['read', 'write', 'toDevice', 'toHost', 'update'];

/** Why a ticket exists: the words of the timeline and of the stall report. */
export type Cause =
  | 'fetch' // a parameter chunk comes to the GPU for a unit (both legs, when it comes from disk)
  | 'gradient' // a gradient leaves the GPU
  | 'accumulate' // the host adds a micro-batch's gradient to the accumulator
  | 'park' // a gradient waits on disk for its update
  | 'state' // a state chunk is read for its update or written after it
  | 'update' // the host optimizer
  | 'preview' // the host optimizer makes a new parameter ahead of its state
  | 'home' // an updated parameter chunk goes home to disk
  | 'activation'; // a parked input of a unit leaves or comes back: beside the plan's tickets, never among them

/** A slot, or two that take turns (see above). */
export interface Place {
  readonly slot: SlotId;
  readonly alternate?: SlotId;
}

export interface Slot {
  readonly id: SlotId;
  readonly tier: Tier;
  readonly offset: number;
  readonly bytes: number;
  /** What it is for, in words: `state 17`, `pool parameter 3`. For reports only. */
  readonly label: string;
}

export interface Ticket {
  readonly id: TicketId;
  readonly lane: Lane;
  readonly kind: Kind;
  readonly chunk: ChunkId;
  readonly cause: Cause;
  /** Bytes moved, for copies; host memory traffic, for `update`, `preview` and `accumulate`. */
  readonly bytes: number;
  readonly after: readonly TicketId[];
  readonly afterPrevious: readonly TicketId[];
  readonly afterMoment: number;
  readonly afterPreviousMoment: number;
  /** Smaller is more urgent; in moments. */
  readonly priority: number;
  /** Copies: source. `accumulate`: the micro-batch's gradient. `update`, `preview`: the state that is read. */
  readonly from: Place;
  /**
   * Copies: destination. `accumulate`: the accumulator. `update`, `preview`: where the new parameter goes; an update whose parameter
   * was made before has the state's place here, and writes nothing else.
   */
  readonly to: Place;
  /** `update` only: where the new state goes (`from` itself: in place). */
  readonly stateTo?: Place;
  /** `update` and `preview`: the gradients, one per use, summed in this order. */
  readonly gradients?: readonly Place[];
  /** Gradients only: which use of a tied chunk this belongs to (0 for all others), and its micro-batch (-1: all). */
  readonly part?: number;
  readonly microBatch?: number;
  /** `accumulate` only: false for the step's first one, which overwrites. */
  readonly add?: boolean;
  /** Only in steps that do not guess. In all others this ticket does its work, and whoever waits for it waits for this one. */
  readonly unlessGuessed?: TicketId;
}

export interface MomentParameter {
  readonly chunk: ChunkId;
  readonly slot: SlotId;
}

export interface MomentGradient {
  readonly chunk: ChunkId;
  readonly slot: SlotId;
  /** `elements × computeBytes`, or `× stateBytes` where a sum over micro-batches is kept. */
  readonly bytes: number;
  readonly part: number;
  readonly add: boolean;
}

export interface PlannedMoment {
  readonly index: number;
  readonly pass: Pass;
  readonly unit: number;
  readonly microBatch: number;
  readonly waits: readonly TicketId[];
  readonly waitsPrevious: readonly TicketId[];
  readonly parameters: readonly MomentParameter[];
  readonly gradients: readonly MomentGradient[];
  readonly deviceUpdates: readonly ChunkId[];
}

/**
 * `device`: in the `update` moment. `deferred`: on the host, after the norm is known, behind the next forward.
 * `speculated`: on the host as soon as the gradient is there, out of place; in steps that do not guess, because most are clipped,
 * the new parameter alone behind the norm and the state later, as with `previewed`. `immediate`: the same in place, where
 * nothing waits for a norm. `previewed`: twice on the host. First the new parameter alone, as soon as the gradient is there, beside the
 * old one; then, once the norm is known, the state, whenever the optimizer has nothing more urgent to do before the next
 * preview. It takes more work than speculation and a seventh of the room. `none`: frozen, or a forward-only plan.
 */
export type UpdateMode = 'device' | 'deferred' | 'speculated' | 'previewed' | 'immediate' | 'none';

export interface ChunkPlan {
  readonly chunk: ChunkId;
  readonly parameterHome: Tier;
  readonly stateHome: Tier | 'none';
  /** Keeps a GPU slot of its own for the whole step. */
  readonly resident: boolean;
  readonly update: UpdateMode;
  /** Its homes take turns between two slots (`Place.alternate`). */
  readonly flips: boolean;
  readonly parameter: Place;
  readonly state: Place | null;
  /** Resident chunks only. */
  readonly gpuSlot: SlotId | null;
  /** Where gradients rest until the update, one per use; empty where they never rest. */
  readonly gradients: readonly Place[];
}

export interface PlanForecast {
  readonly stepSeconds: number;
  readonly computeSeconds: number;
  /** Seconds the compute stream waited, by the cause that held it. */
  readonly stallSeconds: Readonly<Partial<Record<Cause, number>>>;
  readonly movedBytes: Readonly<Record<Lane, number>>;
  /** Seconds each lane was busy. */
  readonly busySeconds: Readonly<Record<Lane, number>>;
}

export interface Plan {
  readonly version: 1;
  readonly policy: string;
  /** The trace's signature: a step that departs from it needs another plan. */
  readonly signature: string;
  readonly layoutHash: string;
  readonly types: ElementBytes;
  readonly mode: 'training' | 'forward';
  readonly budgets: PerTier;
  /** Bytes others hold on each tier at their peak: context, activations, reserve. Arena + this never exceeds the budget. */
  readonly otherBytes: PerTier;
  readonly arenaBytes: PerTier;
  readonly slots: readonly Slot[];
  /** GPU slots that chunks take turns in: where the reactive scheduler works when a step departs from the plan. */
  readonly pool: readonly SlotId[];
  /** Copies of parameters that lie in pool slots whenever a step begins, because the step before left them there. */
  readonly carried: readonly MomentParameter[];
  readonly chunks: readonly ChunkPlan[];
  readonly moments: readonly PlannedMoment[];
  readonly tickets: readonly Ticket[];
  readonly forecast: PlanForecast;
}
