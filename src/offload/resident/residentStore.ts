/** Everything in one place: parameters, gradients and states are plain tensors on the compute device. */
import { hostMemory } from '../../core/hostMemory.ts';
import { native } from '../../native/load.ts';
import {
  type AnyModule,
  type Parameter,
  type Pass,
  placeParameters,
  type Unit,
  type ValueSource,
} from '../../nn/index.ts';
import { type Dtype, noGrad, ops, scope, type Tensor } from '../../tensor/index.ts';
import { ComputeTimeline } from '../computeTimeline.ts';
import { cudaIndex } from '../device.ts';
import { firstValues } from '../firstValues.ts';
import { GradientAccumulators } from '../gradients.ts';
import { type GradientNorms, StepNorms } from '../norms.ts';
import type { StoreObserver } from '../observer.ts';
import type { RunningSave, SaveOrder, SaveRequest } from '../saving.ts';
import type {
  ParameterStore,
  StateEntry,
  StateKind,
  StepCourse,
  TierUse,
  UpdateResult,
  UpdateSettings,
} from '../store.ts';
import { compressedState, firstWeight, updateCompressed } from './compressedStates.ts';
import { stateDtype, tensorEntry } from './entries.ts';
import { ResidentSaves } from './saves.ts';

export interface ResidentOptions {
  readonly seed: number;
  readonly dtype: Dtype;
  readonly device: string;
  /** The update of each step. */
  readonly updateAt: (step: number) => UpdateSettings;
  /** Which group each parameter belongs to, by index in `UpdateSettings.groups`. */
  readonly groupOf: (parameter: Parameter) => number;
  /** Which moments the update rule keeps. */
  readonly moments: readonly ('moment1' | 'moment2')[];
  /** How AdamW's state is kept; default exact. Compressed states are for bf16 and fp32 on the CPU. */
  readonly states?: 'exact' | 'compressed';
  /** First values; default: the initialisers. */
  readonly values?: ValueSource;
  /** Called once first values are where they belong. */
  readonly placed?: (trains: boolean) => void;
  /** States are made with the weights: masters from the values as they are given, before weights are rounded. False makes none yet. */
  readonly forTraining: boolean;
  /** Threads of the host optimizer. */
  readonly threads: number;
  readonly observer?: StoreObserver;
  /** Default: `StepNorms`. */
  readonly norms?: GradientNorms;
}

type ParameterState = Map<StateKind, Tensor>;

export class ResidentStore implements ParameterStore {
  readonly moves = false;
  readonly #parameters: readonly Parameter[];
  readonly #options: ResidentOptions;
  readonly #states = new Map<Parameter, ParameterState>();
  #gradients: GradientAccumulators;
  readonly #timeline: ComputeTimeline;
  readonly #norms: GradientNorms;
  #step = 0;
  readonly #saves = new ResidentSaves();

  /** Places every parameter of `model` on the device. */
  constructor(model: AnyModule, options: ResidentOptions) {
    this.#options = options;
    this.#parameters = model.parameters();
    const values = firstValues(options);
    try {
      placeParameters(model, { ...options, values: (parameter) => this.#begin(parameter, values(parameter)) });
    } catch (error) {
      this.#disposeStates();
      throw error;
    }
    options.placed?.(true);
    this.#timeline = new ComputeTimeline(options.observer ?? {}, options.device);
    this.#norms = options.norms ?? new StepNorms(options.threads);
    this.#gradients = new GradientAccumulators(stateDtype(options.dtype), false);
  }

  acquire(): void {
    this.#timeline.begin();
  }

  release(unit: Unit, pass: Pass): void {
    this.#timeline.end(() => `${pass} ${unit.name}`);
  }

  replay(body: () => void): void {
    this.#timeline.begin();
    try {
      body();
    } finally {
      this.#timeline.end(() => 'forward and backward, replayed');
    }
  }

  park(): void {}
  unpark(): void {}

  prepare({ microBatches }: StepCourse): void {
    this.#gradients.clear();
    this.#gradients = new GradientAccumulators(stateDtype(this.#options.dtype), microBatches > 1);
  }

  prepareForward(): void {}

  beginStep(step: number): void {
    this.#step = step;
    this.#gradients.clear();
    this.#timeline.beginStep(step);
  }

  gradientsReady(unit: Unit, use: number, gradients: readonly (Tensor | null)[]): void {
    const trainable = unit.parameters.filter((parameter) => parameter.trainable);
    for (const [index, gradient] of gradients.entries()) {
      if (gradient !== null) this.#gradients.add(trainable[index]!, `${unit.index}.${use}`, gradient);
    }
  }

  /** The gradient of this step so far, or null; not to be disposed. */
  gradient(parameter: Parameter): Tensor | null {
    return this.#gradients.total(parameter);
  }

  /** `gradient` becomes the parameter's gradient of this step; ownership passes over. */
  setGradient(parameter: Parameter, gradient: Tensor): void {
    this.#gradients.replace(parameter, gradient);
  }

  applyUpdate(): UpdateResult {
    this.#timeline.begin();
    const result = this.#update();
    this.#timeline.end(() => 'norm and update');
    this.#timeline.endStep(this.use());
    return result;
  }

  #update(): UpdateResult {
    const { threads, groupOf, updateAt } = this.#options;
    const { rule, groups, clipNorm, lossScale } = updateAt(this.#step);
    const trainable = this.#parameters.filter((parameter) => parameter.trainable);
    return scope(() =>
      noGrad(() => {
        const gradients = new Map(trainable.map((parameter) => [parameter, this.#gradientOf(parameter)]));
        this.#norms.begin();
        this.#norms.take(trainable, [...gradients.values()]);
        const { norm, ...outcome } = this.#norms.total(trainable, clipNorm, lossScale);
        if (outcome.nonFinite === null) {
          this.prepareState();
          this.#saves.awaitCopies();
          const scale = outcome.clipFactor / lossScale;
          if (this.#options.states === 'compressed') {
            for (const parameter of trainable) {
              const state = this.#states.get(parameter)!;
              const group = groups[groupOf(parameter)]!;
              updateCompressed(parameter, state, gradients.get(parameter)!, group, scale, threads);
            }
            this.#gradients.clear();
            return { gradientNorm: norm, ...outcome };
          }
          const tensors = trainable.map((parameter) => {
            const state = this.#states.get(parameter)!;
            const master = state.get('master');
            return {
              gradient: gradients.get(parameter)!.handle,
              master: (master ?? parameter.tensor).handle,
              m: state.get('moment1')?.handle ?? null,
              v: state.get('moment2')?.handle ?? null,
              parameterOut: master === undefined ? null : parameter.tensor.handle,
            };
          });
          native().optimizerUpdateMany(rule, groups, trainable.map(groupOf), scale, tensors, threads);
        }
        this.#gradients.clear();
        return { gradientNorm: norm, ...outcome };
      }),
    );
  }

  /** A parameter that nothing depended on has a zero gradient. */
  #gradientOf(parameter: Parameter): Tensor {
    const total = this.#gradients.total(parameter);
    const { dtype, device } = this.#options;
    return total === null ? ops.zeros(parameter.shape, { dtype, device }) : ops.contiguous(total);
  }

  zeroGradients(): void {
    this.#gradients.clear();
  }

  /** Makes the state of a parameter with this first value, where it has one; returns what its weight is to be. */
  #begin(parameter: Parameter, value: Tensor): Tensor {
    const { dtype, states, forTraining } = this.#options;
    if (!forTraining || !parameter.trainable) return value;
    const compressed = states === 'compressed';
    const state = compressed ? compressedState(parameter, dtype) : this.#exactState(parameter, value);
    this.#states.set(parameter, state);
    return compressed ? firstWeight(value, state, dtype) : value;
  }

  #exactState({ shape }: Parameter, value: Tensor): ParameterState {
    const { dtype, device, moments } = this.#options;
    const wide = stateDtype(dtype);
    const state: ParameterState = new Map();
    try {
      if (wide !== dtype) {
        const master = ops.empty(shape, { dtype: wide, device }).keep();
        state.set('master', master);
        scope(() => noGrad(() => ops.copyInto(master, value)));
      }
      for (const moment of moments) state.set(moment, ops.zeros(shape, { dtype: wide, device }).keep());
    } catch (error) {
      for (const tensor of state.values()) tensor.dispose();
      throw error;
    }
    return state;
  }

  /** A store that was not made for training, or whose parameters were placed before, knows no more than the weights. */
  prepareState(): void {
    const { dtype, states } = this.#options;
    for (const parameter of this.#parameters) {
      if (!parameter.trainable || this.#states.has(parameter)) continue;
      const made =
        states === 'compressed' ? compressedState(parameter, dtype) : this.#exactState(parameter, parameter.tensor);
      this.#states.set(parameter, made);
    }
  }

  #tensors(): { readonly parameter: Parameter; readonly kind: StateKind; readonly tensor: Tensor }[] {
    return this.#parameters.flatMap((parameter) => [
      { parameter, kind: 'weight' as const, tensor: parameter.tensor },
      ...Array.from(this.#states.get(parameter) ?? [], ([kind, tensor]) => ({ parameter, kind, tensor })),
    ]);
  }

  saveOrder(): SaveOrder | string {
    const { device } = this.#options;
    if (device !== 'cpu') return `everything is in plain tensors on ${device}`;
    const tensors = this.#tensors().map(({ parameter, kind, tensor }) => {
      return { parameter, kind, dtype: tensor.dtype, shape: tensor.shape, bytes: tensor.bytes };
    });
    return { tensors, leastSlotBytes: 1 };
  }

  beginSave(request: SaveRequest): RunningSave {
    return this.#saves.begin(
      this.#tensors().map(({ tensor }) => tensor),
      request,
    );
  }

  stateEntries(): StateEntry[] {
    // They may be written to.
    this.#saves.settle();
    return this.#parameters.flatMap((parameter) => [
      tensorEntry(parameter, 'weight', parameter.tensor),
      ...Array.from(this.#states.get(parameter) ?? [], ([kind, tensor]) => tensorEntry(parameter, kind, tensor)),
    ]);
  }

  use(): TierUse[] {
    const { device } = this.#options;
    const usedBytes = native().memoryStats(device).allocatedBytes;
    if (device === 'cpu') return [{ tier: 'gpu', label: 'cpu', usedBytes, budgetBytes: hostMemory().totalBytes }];
    return [{ tier: 'gpu', usedBytes, budgetBytes: native().deviceInfo(cudaIndex(device)).totalBytes }];
  }

  notes(): readonly string[] {
    return [];
  }

  dispose(): void {
    this.#saves.dispose();
    this.#gradients.clear();
    this.#disposeStates();
    for (const parameter of this.#parameters) parameter.unplace();
  }

  #disposeStates(): void {
    for (const state of this.#states.values()) for (const tensor of state.values()) tensor.dispose();
    this.#states.clear();
  }
}
