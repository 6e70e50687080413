/**
 * Carries out a pipeline schedule on this rank: its actions one after another, in exactly their order. Computation is the
 * two-level tape's, one tape for each stage and micro-batch; random keys belong to micro-batch and unit, and a unit's
 * gradients come with ascending micro-batches whatever the schedule, so that losses and weights are those of a run
 * without a pipeline.
 */
import { invariant } from '../../core/errors.ts';
import type { DeviceName } from '../../native/binding.ts';
import { ForwardRunner, randomKeys, Tape, type Unit, type UnitHost, watching, withRunner } from '../../nn/index.ts';
import type { SequenceModel } from '../../nn/sequence.ts';
import type { ParameterStore, VisitOrder } from '../../offload/store.ts';
import { dtypeBytes, noGrad, ops, scope, type Tensor } from '../../tensor/index.ts';
import { forEachTensor } from '../../tensor/scope.ts';
import type { Group, Work } from '../group.ts';
import { mostMessages, visitsOf } from './course.ts';
import { type Flight, Shelf } from './flight.ts';
import type { PipelineLayout } from './layout.ts';
import { type Arriving, formOf, Messages, type TensorForm } from './messages.ts';
import {
  type Action,
  type ComputeAction,
  forwardOnly,
  isTransfer,
  rankOfStage,
  type TransferAction,
} from './schedule/index.ts';
import type { SharedGradients } from './sharedUnit.ts';
import { WatchedStages } from './watched.ts';

export interface PipelineParts<Batch> {
  readonly model: SequenceModel<Batch>;
  readonly layout: PipelineLayout;
  /** The ranks of the pipeline in its order. */
  readonly group: Group;
  /** Who keeps the parameters of this rank's stages. */
  readonly host: UnitHost;
  readonly device: DeviceName;
  /** Where the store takes gradients of parameters on several ranks behind all others. */
  readonly shared?: SharedGradients;
  /** Hears every action of a training step when it is done. */
  readonly observe?: (event: PipelineEvent) => void;
}

export interface PipelineEvent {
  readonly action: Action;
  /** `performance.now()` in milliseconds. */
  readonly startMs: number;
  readonly durationMs: number;
  /** Of it: waiting for a tensor of another rank. On a GPU the host does not wait, so this is zero there. */
  readonly waitMs: number;
}

export interface PipelineStep<Batch> {
  readonly batches: readonly Batch[];
  readonly seed: number;
  readonly step: number;
  /** Weight of each loss. */
  readonly scale: number;
  /** The number under which a micro-batch draws its random numbers. */
  readonly keyOf: (microBatch: number) => number;
}

/** What needs no waiting for. */
const here = { wait: () => {} };

export class PipelineRunner<Batch> {
  readonly layout: PipelineLayout;
  readonly #parts: PipelineParts<Batch>;
  /** The store, as the tape sees it. */
  readonly #host: UnitHost;
  readonly #messages: Messages;
  readonly #flights = new Shelf<Flight>('forward pass');
  /** Inputs of stages, and gradients of their outputs, before they are used. */
  readonly #inputs = new Shelf<Arriving>('input');
  readonly #gradients = new Shelf<Arriving>('gradient');
  /** Outputs of stages, and gradients of their inputs, before they are sent. */
  readonly #leavingOutputs = new Shelf<Tensor>('output');
  readonly #leavingGradients = new Shelf<Tensor>('input gradient');
  /** Forms of what crosses the edge after a stage, by the form of the batch. */
  readonly #forms = new Map<string, TensorForm>();
  /** Forms of batches whose edges all ranks know. */
  readonly #learnt = new Set<string>();
  /** Milliseconds that the action under way has waited for others. */
  #waitedMs = 0;

  constructor(parts: PipelineParts<Batch>) {
    this.#parts = parts;
    this.#host = parts.shared?.around(parts.host) ?? parts.host;
    this.layout = parts.layout;
    this.#messages = new Messages(parts.group, parts.device);
    invariant(parts.group.size === parts.layout.schedule.ranks, 'a pipeline has as many ranks as its group');
  }

  /**
   * Forward and backward of all micro-batches. Returns their losses on every rank, as scalars in the caller's scope: in
   * the model's type on the rank that computed them, float64 elsewhere.
   */
  runStep(step: PipelineStep<Batch>): Tensor[] {
    const { batches, seed, keyOf } = step;
    const { schedule } = this.layout;
    invariant(batches.length === schedule.microBatches, `the schedule is for ${schedule.microBatches} micro-batches`);
    return this.#orClear(() => {
      for (const microBatch of batches.keys()) {
        randomKeys.begin({ seed, step: step.step, microBatch: keyOf(microBatch) });
      }
      const losses: Tensor[] = [];
      for (const action of schedule.actions[this.#parts.group.rank]!) this.#run(action, step, losses);
      this.#messages.settle();
      this.#parts.shared?.handOver(this.#parts.host, schedule.microBatches);
      return this.#shareLosses(losses);
    });
  }

  /**
   * Results of forward passes alone, on every rank, in the order of `batches` and in the caller's scope. No graph is made;
   * whether dropout drops is up to the model's mode.
   */
  forward(batches: readonly Batch[]): Tensor[] {
    const { group, host } = this.#parts;
    const schedule = forwardOnly(this.layout.schedule, batches.length);
    const outputs: Tensor[] = [];
    return this.#orClear(() => {
      for (const action of schedule.actions[group.rank]!) {
        const { stage, microBatch } = action;
        if (isTransfer(action)) this.#transfer(action, batches);
        else {
          const output = noGrad(() =>
            withRunner(new ForwardRunner(host), () =>
              scope(() => this.#runUnits(stage, this.#takeInput(stage, microBatch), batches[microBatch]!)),
            ),
          );
          this.#handOver(stage, microBatch, output.keep());
          if (this.#isLast(stage)) outputs[microBatch] = output;
        }
      }
      this.#messages.settle();
      return this.#shareOutputs(outputs, batches);
    });
  }

  /**
   * Gives `store` its look at this rank's part of a micro-batch, where it takes one, and tells all ranks what will cross
   * their edges. Called by all of them before the first step, with a batch as training will use it.
   */
  prepare(store: ParameterStore, microBatches: number, batch: Batch): void {
    const { rank } = this.#parts.group;
    const { shared } = this.#parts;
    const order = {
      visits: [...visitsOf(this.layout, rank), ...(shared === undefined ? [] : handOvers(shared.unit, microBatches))],
      besideBytes: () => mostMessages(this.layout, rank) * this.#largestForm() + (shared?.bytes(this.layout) ?? 0),
    };
    let watched = false;
    store.prepare({ microBatches, accumulation: 'horizontal', order }, (host) => {
      watched = true;
      this.#watch(batch, (stages) => stages.training(host));
      shared?.watch(host);
    });
    if (!watched) this.#learn(store, batch);
  }

  /** The same where only forward passes follow. */
  prepareForward(store: ParameterStore, batch: Batch): void {
    let watched = false;
    store.prepareForward((host) => {
      watched = true;
      this.#watch(batch, (stages) => stages.forward(host));
    });
    if (!watched) this.#learn(store, batch);
  }

  /** A store that watches nothing: a forward pass on its own parameters tells the forms. Once for each form of batch. */
  #learn(store: UnitHost, batch: Batch): void {
    if (this.#learnt.has(batchForm(batch))) return;
    this.#watch(batch, (stages) => stages.forward(store));
  }

  /** Runs own stages on inputs of the right form, in model order, with forms passed on from rank to rank the first time. */
  #watch(batch: Batch, run: (stages: WatchedStages<Batch>) => void): void {
    this.#learnt.add(batchForm(batch));
    const edges = {
      before: (stage: number): TensorForm =>
        this.#formAfter(stage - 1, batch, () => this.#messages.receiveForm(this.#rankOf(stage - 1))),
      after: (stage: number, form: TensorForm): void => {
        if (this.#isLast(stage)) return;
        this.#formAfter(stage, batch, () => {
          if (!this.#isHere(stage + 1)) this.#messages.sendForm(form, this.#rankOf(stage + 1));
          return form;
        });
      },
    };
    const { model, device, group } = this.#parts;
    const stages = new WatchedStages({ model, device, batch, edges, layout: this.layout, rank: group.rank });
    watching(() => run(stages));
    this.#messages.settle();
  }

  #largestForm(): number {
    const bytes = ({ dtype, shape }: TensorForm): number => shape.reduce((all, size) => all * size, dtypeBytes(dtype));
    return Math.max(0, ...[...this.#forms.values()].map(bytes));
  }

  #run(action: Action, step: PipelineStep<Batch>, losses: Tensor[]): void {
    const { observe } = this.#parts;
    const startMs = observe === undefined ? 0 : performance.now();
    if (isTransfer(action)) this.#transfer(action, step.batches);
    else if (action.kind === 'forward') this.#forward(action, step, losses);
    else this.#backward(action, step.scale);
    observe?.({ action, startMs, durationMs: performance.now() - startMs, waitMs: this.#waitedMs });
    this.#waitedMs = 0;
  }

  #forward({ stage, microBatch }: ComputeAction, { batches, keyOf }: PipelineStep<Batch>, losses: Tensor[]): void {
    randomKeys.select(keyOf(microBatch));
    const tape = new Tape(this.#host);
    const tensor = this.#takeInput(stage, microBatch);
    const input = tensor === null ? null : { tensor, form: formOf(tensor) };
    if (tensor !== null) tape.input(tensor);
    const output = scope(() => tape.record(() => this.#runUnits(stage, tensor, batches[microBatch]!))).keep();
    this.#flights.put(stage, microBatch, { tape, input, output });
    this.#handOver(stage, microBatch, output);
    if (this.#isLast(stage)) losses[microBatch] = output;
  }

  /** Runs the units of a stage; what goes into them is freed. */
  #runUnits(stage: number, input: Tensor | null, batch: Batch): Tensor {
    const { first, end } = this.layout.stages[stage]!;
    let x = input;
    for (let unit = first; unit < end; unit++) {
      const next = this.#parts.model.runStage(unit, x, batch);
      if (next !== x) x?.dispose();
      x = next;
    }
    return x!;
  }

  /** A stage's output to the next one: to be sent, or, on this rank, cut from its graph as sending would. */
  #handOver(stage: number, microBatch: number, output: Tensor): void {
    if (this.#isLast(stage)) return;
    if (this.#isHere(stage + 1)) {
      const tensor = noGrad(() => scope(() => ops.detach(output))).keep();
      output.dispose();
      this.#inputs.put(stage + 1, microBatch, { tensor, work: here });
    } else this.#leavingOutputs.put(stage, microBatch, output);
  }

  #wait(work: Work): void {
    const began = performance.now();
    work.wait();
    this.#waitedMs += performance.now() - began;
  }

  /** The input of a stage, once it is complete; null for the first. */
  #takeInput(stage: number, microBatch: number): Tensor | null {
    if (stage === 0) return null;
    const { tensor, work } = this.#inputs.take(stage, microBatch);
    this.#wait(work);
    return tensor;
  }

  #backward({ kind, stage, microBatch }: ComputeAction, scale: number): void {
    const { tape, input, output } = this.#flights.get(stage, microBatch);
    scope(() => {
      if (kind === 'backwardWeight') {
        while (tape.weightsOne() !== null);
        return;
      }
      this.#startBackward(tape, output, stage, microBatch, scale);
      while (tape.backwardOne(kind === 'backward' ? 'whole' : 'inputs') !== null);
    });
    if (kind !== 'backwardWeight' && input !== null) {
      const { form } = input;
      const gradient = tape.takeGradient(input.tensor) ?? this.#zeros(form);
      if (this.#isHere(stage - 1)) this.#gradients.put(stage - 1, microBatch, { tensor: gradient, work: here });
      else this.#leavingGradients.put(stage, microBatch, gradient);
    }
    if (kind === 'backwardInput') return;
    tape.clear();
    this.#flights.take(stage, microBatch);
  }

  #startBackward(tape: Tape, output: Tensor, stage: number, microBatch: number, scale: number): void {
    if (this.#isLast(stage)) {
      tape.begin(output, { scale });
      return;
    }
    const { tensor, work } = this.#gradients.take(stage, microBatch);
    this.#wait(work);
    tape.beginFrom(output, tensor, { scale });
  }

  /** Where nothing depended on a stage's input, the stage before still waits for its gradient. */
  #zeros({ dtype, shape }: TensorForm): Tensor {
    return noGrad(() => scope(() => ops.zeros(shape, { dtype, device: this.#parts.device }))).keep();
  }

  #transfer({ kind, payload, stage, microBatch, peer }: TransferAction, batches: readonly Batch[]): void {
    if (kind === 'send') {
      const shelf = payload === 'activation' ? this.#leavingOutputs : this.#leavingGradients;
      const tensor = shelf.take(stage, microBatch);
      if (payload === 'activation') {
        this.#formAfter(stage, batches[microBatch]!, () => {
          const form = formOf(tensor);
          this.#messages.sendForm(form, peer);
          return form;
        });
      }
      this.#messages.send(tensor, peer);
      tensor.dispose();
    } else if (payload === 'activation') {
      const form = this.#formAfter(stage, batches[microBatch]!, () => this.#messages.receiveForm(peer));
      this.#inputs.put(stage + 1, microBatch, this.#messages.receive(form, peer));
    } else {
      const form = this.#formAfter(stage - 1, batches[microBatch]!, null);
      this.#gradients.put(stage - 1, microBatch, this.#messages.receive(form, peer));
    }
  }

  /** What crosses the edge after `stage` for a batch of this form; `exchange` tells or asks the other side the first time. */
  #formAfter(stage: number, batch: Batch, exchange: (() => TensorForm) | null): TensorForm {
    const key = `${stage} ${batchForm(batch)}`;
    let form = this.#forms.get(key);
    if (form === undefined) {
      invariant(exchange !== null, `pipeline: a gradient arrives before its activation left stage ${stage}`);
      form = exchange();
      this.#forms.set(key, form);
    }
    return form;
  }

  #shareLosses(losses: readonly Tensor[]): Tensor[] {
    const { group, device } = this.#parts;
    const root = this.#lastRank;
    const count = this.layout.schedule.microBatches;
    const form: TensorForm = { dtype: 'float64', shape: [count] };
    return noGrad(() => {
      if (group.rank !== root) {
        const all = this.#messages.share(null, form, root);
        return Array.from({ length: count }, (_, index) => ops.select(all, 0, index));
      }
      const own = losses.map((loss) => ops.detach(loss));
      for (const loss of losses) loss.dispose();
      scope(() => {
        const wide = own.map((loss) => ops.view(ops.to(loss, { dtype: 'float64', device }), [1]));
        this.#messages.share(ops.cat(wide, 0), form, root);
      });
      return own;
    });
  }

  #shareOutputs(outputs: readonly Tensor[], batches: readonly Batch[]): Tensor[] {
    const root = this.#lastRank;
    const isRoot = this.#parts.group.rank === root;
    const last = this.layout.schedule.stages - 1;
    return batches.map((batch, index) => {
      const own = isRoot ? outputs[index]! : null;
      const ask = (): TensorForm => this.#messages.shareForm(own === null ? null : formOf(own), root);
      const shared = this.#messages.share(own, this.#formAfter(last, batch, ask), root);
      own?.dispose();
      return shared;
    });
  }

  /** Runs `body`; after an error nothing of the step stays. */
  #orClear<Result>(body: () => Result): Result {
    try {
      return body();
    } catch (error) {
      const free = ({ tensor }: { readonly tensor: Tensor }): void => tensor.dispose();
      this.#flights.clear(({ tape, output }) => {
        tape.clear();
        output.dispose();
      });
      this.#inputs.clear(free);
      this.#gradients.clear(free);
      this.#leavingOutputs.clear((tensor) => tensor.dispose());
      this.#leavingGradients.clear((tensor) => tensor.dispose());
      this.#messages.drop();
      this.#parts.shared?.clear();
      this.#forms.clear();
      throw error;
    }
  }

  #rankOf(stage: number): number {
    return rankOfStage(stage, this.layout.schedule);
  }

  get #lastRank(): number {
    return this.#rankOf(this.layout.schedule.stages - 1);
  }

  #isLast(stage: number): boolean {
    return stage === this.layout.schedule.stages - 1;
  }

  #isHere(stage: number): boolean {
    return this.#rankOf(stage) === this.#parts.group.rank;
  }
}

/** A sum over ranks goes to the store once; its moments are as many as those of every other use. */
const handOvers = ({ index }: Unit, microBatches: number): VisitOrder['visits'] =>
  Array.from({ length: microBatches }, (_, microBatch) => {
    return { pass: 'backward', unit: index, microBatch, part: 'backward' };
  });

/** Shapes and types of a batch's tensors: with the same ones, the same forms cross the edges. */
function batchForm(batch: unknown): string {
  const forms: string[] = [];
  forEachTensor(batch, ({ dtype, shape }) => forms.push(`${dtype}[${shape}]`));
  return forms.join(' ');
}
