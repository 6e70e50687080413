/**
 * Who keeps parameters, gradients and optimizer states. The engine drives a `ParameterStore` and never asks where bytes
 * are: everything resident, or chunks on three tiers. For one device and element type all stores give the same bits.
 */

import { TierraError } from '../core/errors.ts';
import type { Layout, Plan, Trace } from '../memory/index.ts';
import type { UpdateGroup, UpdateRule } from '../native/binding.ts';
import type { Parameter, Pass, Unit, UnitHost } from '../nn/index.ts';
import type { Dtype } from '../tensor/index.ts';
import type { MovementReport } from './observer.ts';
import type { RunningSave, SaveOrder, SaveRequest } from './saving.ts';

/** How one step's gradients become updates: complete values. Stores ask for them when the step begins, and not earlier. */
export interface UpdateSettings {
  readonly rule: UpdateRule;
  /** Hyper-parameters per parameter group at this step. */
  readonly groups: readonly UpdateGroup[];
  /** Largest global norm; null does not clip. */
  readonly clipNorm: number | null;
  /** The factor that the loss was multiplied with. */
  readonly lossScale: number;
}

export interface UpdateResult {
  /** Global norm of the gradients before clipping, loss scale taken out. */
  readonly gradientNorm: number;
  /** What the gradients were multiplied with: 1 below the clip norm. */
  readonly clipFactor: number;
  /** The first parameter, in parameter order, with an infinite or NaN gradient; then nothing was updated. */
  readonly nonFinite: string | null;
  /** All such parameters that this store knows of, in parameter order. */
  readonly nonFiniteParameters?: readonly string[];
}

export interface TierUse {
  readonly tier: 'gpu' | 'host' | 'nvme';
  /** What a person calls it here, where that is another word. */
  readonly label?: string;
  readonly usedBytes: number;
  readonly budgetBytes: number;
}

/** `weight` is the parameter in compute precision, `master` its fp32 (fp64) original, the others optimizer state. */
export type StateKind =
  | 'weight'
  | 'master'
  | 'moment1'
  | 'moment2'
  // Of compressed states: the master's lower bits, codes of the first moment and of the second one's root, their scales.
  | 'correction'
  | 'moment1Codes'
  | 'moment1Scales'
  | 'moment2Codes'
  | 'moment2Scales';

/** Elements `begin` to `begin + elements` of a parameter (of a tensor of another shape: its own), row by row. */
export interface ParameterPart {
  readonly begin: number;
  readonly elements: number;
}

/** One tensor of a checkpoint, or the part of it that this rank holds: bytes on demand, wherever they live. */
export interface StateEntry {
  readonly parameter: Parameter;
  readonly kind: StateKind;
  readonly dtype: Dtype;
  /** Of the whole tensor, where it is not the parameter's, as in compressed states. */
  readonly shape?: readonly number[];
  /** Bytes of the part. */
  readonly bytes: number;
  /** Absent: the whole parameter. Offsets count from the part's beginning. */
  readonly part?: ParameterPart;
  /** Copies contiguous bytes from `byteOffset` on, a multiple of the element size. */
  read(into: Uint8Array, byteOffset: number): void;
  /** Overwrites bytes from `byteOffset` on. */
  write(from: Uint8Array, byteOffset: number): void;
}

/** Runs one micro-batch forward and backward with `host` in the store's place: what a store learns a step's course from. */
export type TraceRun = (host: UnitHost) => void;

export interface StepCourse {
  readonly microBatches: number;
  readonly accumulation: 'horizontal' | 'vertical';
  /** Elements of the largest micro-batch that is known to come: one that is larger than any before may need more room. */
  readonly inputElements?: number;
  /** The visits of a step where neither word says it: a pipeline's. Gradients of a unit still come with ascending micro-batches. */
  readonly order?: VisitOrder;
}

export interface VisitOrder {
  readonly visits: readonly {
    readonly pass: Pass;
    /** `Unit.index`. */
    readonly unit: number;
    readonly microBatch: number;
    /** Share of the pass's time: backward may come in two visits, the first of which leaves no gradients and is a forward. */
    readonly part: 'forward' | 'backward' | 'backwardInput' | 'backwardWeight';
  }[];
  /** Most bytes on the compute device that no watched micro-batch shows: tensors on their way between ranks. Asked after watching. */
  besideBytes(): number;
}

/** A step does not go as planned. In the first forward pass of a micro-batch `ParameterStore.depart` mends it. */
export class Departure extends TierraError {
  readonly pass: Pass;

  constructor(what: string, pass: Pass) {
    super('E_UNSUPPORTED', `the step departs from its plan: ${what}`, {
      hint: 'Set memory.policy: off for models whose units run in an order that the input alone does not decide.',
    });
    this.pass = pass;
  }
}

/** A plan, with the traced step and the chunks that it is for. */
export interface Rehearsal {
  readonly plan: Plan;
  readonly trace: Trace;
  readonly layout: Layout;
}

export interface ParameterStore extends UnitHost {
  /** Whether parameters travel between tiers, so that fewer visits to a unit save time. */
  readonly moves: boolean;
  /**
   * By visit of a step, in its order: whether the parameters of the next visit can be read within it. A layer around the
   * store that acts on them together with other ranks says with `allowGlances` in which visits all can.
   */
  glances?(): readonly boolean[];
  allowGlances?(allowed: readonly boolean[]): void;
  /** Within a visit that allows it, runs `body` with the parameters of `unit`, whose visit is the next, in place; false where it does not. */
  glance?(unit: Unit, pass: Pass, body: () => void): boolean;
  /**
   * Called before the first step, and whenever a step's course changes. Stores that plan run `trace` once or twice,
   * the same on every rank, others not at all; its results are thrown away.
   */
  prepare(course: StepCourse, trace: TraceRun): void;
  /** What `prepare` would plan, without taking memory for it or giving anything a place. Absent in stores that do not plan. */
  rehearse?(course: StepCourse, trace: TraceRun): Rehearsal;
  /**
   * The micro-batch that begins, or whose first forward pass has just thrown a `Departure`, goes another way than planned or
   * is larger; `trace` shows it. Gradients of the step's micro-batches before it stay; it is to be begun anew. Absent where
   * any course will do.
   */
  depart?(microBatch: number, course: StepCourse, trace: TraceRun): void;
  /** The same for forward passes alone, where no training is to follow; `trace` runs one. */
  prepareForward(trace: TraceRun): void;
  /**
   * Present where parameters stay where they are and gradients are never written into: a whole micro-batch may then be replayed in
   * `body`, which brings its gradients as `gradientsReady` does, without visits to units.
   */
  replay?(body: () => void): void;
  /** Called before the first micro-batch of optimizer step `step` (from 0). Drops gradients of an unfinished step. */
  beginStep(step: number): void;
  /** Called once per step, when the gradients of all micro-batches are in. Updates nothing when one is not finite. */
  applyUpdate(): UpdateResult;
  /** Drops all gradients. */
  zeroGradients(): void;
  /**
   * Weights, masters and moments of every parameter in parameter order. Masters exist where the weight's type is
   * narrower than the state's; state that was never made is left out.
   */
  stateEntries(): StateEntry[];
  /**
   * What `beginSave` would write, in its order; state that was never made is left out. A text says why the bytes of this
   * placement cannot be handed out behind training: `stateEntries` is the way then, as where this is absent.
   */
  saveOrder?(): SaveOrder | string;
  /**
   * Begins to append every tensor's bytes, as they are now, to files. Training may go on at once: what would overwrite bytes
   * that are not copied yet waits. One save at a time.
   */
  beginSave?(request: SaveRequest): RunningSave;
  /** Makes optimizer state exist, so that a checkpoint can be written into it. */
  prepareState(): void;
  /** Bytes per tier now. */
  use(): TierUse[];
  /** What moved and what compute waited for, per step; null before the first step, absent where nothing moves. */
  report?(): MovementReport | null;
  /** What a person should know about the places taken: what is not as asked for and why, files of killed runs that were removed. */
  notes(): readonly string[];
  dispose(): void;
}
