/**
 * The two-level tape. Inside a unit libtorch's autograd does everything; between units this tape records calls in order
 * and walks them in reverse: give the unit its parameters, recompute if asked, run `autograd.grad`, hand the gradients
 * over, release.
 *
 * Graphs are cut where tensors cross a unit's edge: the tensor becomes a leaf (a `Port`), what computed it stays with
 * the record that made it. Computation outside units ("glue") is cut after every operator while the tape records, so
 * that it is walked in the order in which it was computed; glue made outside `record` is cut when its result enters a
 * unit or is a loss.
 *
 * Gradients of a tensor used several times are summed in the order of plain autograd, latest use first: the partial sum
 * of later uses enters the earlier unit's backward as an extra root at the same leaf, so that libtorch itself adds to it.
 */
import { check, TierraError } from '../core/errors.ts';
import { noteUnit } from '../core/whereabouts.ts';
import { native } from '../native/load.ts';
import {
  adopt,
  type DeferredGrad,
  grad,
  gradInputs,
  isFloating,
  noGrad,
  ops,
  scope,
  type Tensor,
  withGrad,
} from '../tensor/index.ts';
import { type OperatorObserver, observingOperators } from '../tensor/operator.ts';
import { forEachTensor, mapTensors } from '../tensor/scope.ts';
import { setAttachedGradient } from './attachedLoss.ts';
import { type RandomKey, randomKeys } from './randomKeys.ts';
import { runInside, type UnitRunner, withRunner } from './runner.ts';
import type { Unit, UnitHost } from './unit.ts';

/** A leaf at the edge of a unit, and the sum of the gradients its later uses have given so far. */
interface Port {
  /** The tensor object that model code holds. */
  readonly outside: Tensor;
  /** The tape's own handle on it. */
  readonly leaf: Tensor;
  gradient: Tensor | null;
  parked: boolean;
  /** A view and what it looks at have one storage: neither can be parked. */
  shared: boolean;
}

interface UnitRecord {
  readonly kind: 'unit';
  readonly unit: Unit;
  readonly key: RandomKey;
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
  /** Kept graphs: the tensors behind `outputs`, as forward made them. Null under recomputation. */
  graph: readonly Tensor[] | null;
  /** Runs forward again on the saved inputs and returns its output tensors in the order of `outputs`. */
  readonly recompute: () => readonly Tensor[];
}

interface GlueRecord {
  readonly kind: 'glue';
  readonly outputs: readonly Port[];
  /** What the outputs' leaves were before the cut, with their graph. */
  readonly roots: readonly Tensor[];
  /** What the graph starts from, where that is known. */
  readonly inputs: readonly Port[] | null;
}

/** The second half of a unit's backward, and who it belongs to. */
interface DeferredUnit {
  readonly unit: Unit;
  readonly use: number;
  /** Null: no output of the unit had a gradient. */
  readonly weights: DeferredGrad | null;
}

export interface BackwardOptions {
  /** Weight of each loss: `1 / accumulate` for the mean over micro-batches, times the loss scale. Default 1. */
  readonly scale?: number;
}

export class Tape implements UnitRunner {
  readonly #host: UnitHost;
  #records: (UnitRecord | GlueRecord)[] = [];
  #ports = new Map<Tensor, Port>();
  #owned: Tensor[] = [];
  #toPark: Port[] = [];
  #deferred: DeferredUnit[] = [];

  constructor(host: UnitHost) {
    this.#host = host;
  }

  /** Number of unit calls and glue segments recorded and not yet walked. */
  get length(): number {
    return this.#records.length;
  }

  /** Runs `body` with this tape recording. */
  record<Result>(body: () => Result): Result {
    const told: OperatorObserver = (args, result, isView) => this.#recordGlue(args, result, isView);
    return observingOperators(told, () => withRunner(this, () => withGrad(body)));
  }

  run<Args extends readonly unknown[], Result>(unit: Unit, args: Args, forward: (...args: Args) => Result): Result {
    this.#parkUnheld();
    const key = randomKeys.next(unit);
    const inputs = this.#portsOf(args);
    noteUnit(`${unit.name} forward`);
    this.#host.acquire(unit, 'forward');
    let result: Result;
    try {
      for (const port of inputs) this.#unpark(port);
      result = scope(() => {
        randomKeys.apply(unit, key);
        const body = () => observingOperators(null, () => runInside(() => forward(...args)));
        return unit.activations === 'keep' ? withGrad(body) : noGrad(body);
      });
    } finally {
      this.#host.release(unit, 'forward');
    }
    this.#recordUnit(unit, key, args, inputs, result, forward);
    return result;
  }

  #recordUnit<Args extends readonly unknown[]>(
    unit: Unit,
    key: RandomKey,
    args: Args,
    inputs: readonly Port[],
    result: unknown,
    forward: (...args: Args) => unknown,
  ): void {
    const keepGraph = unit.activations === 'keep';
    const trains = inputs.length > 0 || unit.parameters.some((parameter) => parameter.trainable);
    const outputs: Port[] = [];
    const graph: Tensor[] = [];
    const positions: number[] = [];
    for (const [position, tensor] of distinctTensors(result).entries()) {
      if (this.#ports.has(tensor)) continue; // an input handed through unchanged
      if (keepGraph ? !tensor.requiresGrad : !(trains && isFloating(tensor.dtype))) continue;
      graph.push(this.#own(adopt(native().cutGraph(tensor.handle))));
      outputs.push(this.#openPort(tensor));
      positions.push(position);
    }
    if (outputs.length === 0) return;
    if (!keepGraph) for (const tensor of graph.splice(0)) tensor.dispose();
    const saved = new Map(keepGraph ? [] : distinctTensors(args).map((tensor) => [tensor, this.#save(tensor)]));
    if (unit.activations === 'park') this.#toPark.push(...inputs);
    const recompute = (): readonly Tensor[] => {
      const again = distinctTensors(forward(...mapTensors(args, (tensor) => saved.get(tensor)!)));
      return positions.map((position) => again[position]!);
    };
    this.#records.push({ kind: 'unit', unit, key, inputs, outputs, graph: keepGraph ? graph : null, recompute });
  }

  /**
   * Walks the whole tape backward from `losses` and hands every unit's gradients to the host. The tape is empty
   * afterwards, also when it throws.
   */
  backward(losses: Tensor | readonly Tensor[], options: BackwardOptions = {}): void {
    try {
      scope(() => {
        this.begin(losses, options);
        while (this.backwardOne() !== null);
      });
    } finally {
      this.clear();
    }
  }

  /** Gives the losses their gradient; then `backwardOne` takes the tape apart record by record. */
  begin(losses: Tensor | readonly Tensor[], { scale = 1 }: BackwardOptions = {}): void {
    setAttachedGradient(scale);
    for (const loss of Array.isArray(losses) ? (losses as readonly Tensor[]) : [losses as Tensor]) {
      check(loss.elements === 1, `backward starts from scalars; this loss has shape [${loss.shape}]`);
      const port = this.#portOf(loss);
      if (port === null) {
        throw new TierraError('E_ARGUMENT', 'backward: the loss does not depend on any trainable parameter', {
          hint: 'Compute it inside engine.forward or tape.record, from the outputs of the model in train mode.',
        });
      }
      this.#addGradient(port, ops.full(loss.shape, scale, { dtype: loss.dtype, device: loss.device }));
    }
  }

  /** Makes `tensor`, which was computed elsewhere, a leaf: `takeGradient` has its gradient once the tape is walked. */
  input(tensor: Tensor): void {
    this.#openPort(tensor.requireGrad(true));
  }

  /** The gradient of an `input`, whose ownership passes over; null when nothing depended on it. */
  takeGradient(input: Tensor): Tensor | null {
    const port = this.#ports.get(input);
    const gradient = port?.gradient ?? null;
    if (port !== undefined) port.gradient = null;
    return gradient;
  }

  /**
   * As `begin`, from the gradient of a recorded output that was used elsewhere; its ownership passes over. `scale` is what the
   * losses there were given: losses attached to layers here get the same.
   */
  beginFrom(output: Tensor, gradient: Tensor, { scale = 1 }: BackwardOptions = {}): void {
    setAttachedGradient(scale);
    const port = this.#portOf(output);
    if (port === null) gradient.dispose();
    else this.#addGradient(port, gradient);
  }

  /**
   * Walks the last record; returns its unit, `'glue'`, or null when the tape is empty. With `'inputs'` only what earlier
   * records need is computed: `weightsOne` hands out the parameters' gradients later. To the host such a visit is one more forward: it leaves no gradients.
   */
  backwardOne(part: 'whole' | 'inputs' = 'whole'): Unit | 'glue' | null {
    const record = this.#records.pop();
    if (record === undefined) return null;
    if (record.kind === 'glue') {
      this.#glueBackward(record);
      return 'glue';
    }
    if (part === 'whole') this.#unitBackward(record);
    else this.#unitInputs(record);
    return record.unit;
  }

  /** Computes the parameters' gradients of the unit that `backwardOne('inputs')` walked first; null when none is left. */
  weightsOne(): Unit | null {
    const next = this.#deferred.shift();
    if (next === undefined) return null;
    const { unit, use, weights } = next;
    const trainable = unit.parameters.filter((parameter) => parameter.trainable);
    if (weights === null) {
      this.#host.gradientsReady(
        unit,
        use,
        trainable.map(() => null),
      );
      return unit;
    }
    this.#host.acquire(unit, 'backward');
    try {
      const own = scope(() => weights.take());
      this.#host.gradientsReady(
        unit,
        use,
        own.map((gradient) => gradient?.keep() ?? null),
      );
    } finally {
      this.#host.release(unit, 'backward');
    }
    return unit;
  }

  /** Forgets everything recorded and frees what the tape held. */
  clear(): void {
    for (const tensor of this.#owned) tensor.dispose();
    for (const port of this.#ports.values()) port.gradient?.dispose();
    this.#owned = [];
    this.#records = [];
    this.#ports.clear();
    this.#toPark = [];
    for (const { weights } of this.#deferred.splice(0)) weights?.drop();
  }

  #unitBackward(record: UnitRecord): void {
    const { unit, inputs } = record;
    const trainable = unit.parameters.filter((parameter) => parameter.trainable);
    if (record.outputs.every((port) => port.gradient === null)) {
      this.#host.gradientsReady(
        unit,
        record.key.use,
        trainable.map(() => null),
      );
      return;
    }
    noteUnit(`${unit.name} backward`);
    this.#host.acquire(unit, 'backward');
    try {
      for (const port of inputs) this.#unpark(port);
      const gradients = scope(() => {
        const { roots, weights } = this.#rootsOf(record);
        return grad(
          roots,
          [...inputs.map((port) => port.leaf), ...trainable.map((parameter) => parameter.tensor)],
          weights,
        );
      });
      for (const [index, port] of inputs.entries()) this.#setGradient(port, gradients[index]!);
      const own = gradients.slice(inputs.length).map((gradient) => gradient?.keep() ?? null);
      this.#host.gradientsReady(unit, record.key.use, own);
    } finally {
      this.#host.release(unit, 'backward');
      for (const tensor of record.graph ?? []) tensor.dispose();
      for (const port of record.outputs) this.#closePort(port);
    }
  }

  /** Where the unit's backward starts, and the gradients there: its outputs, and inputs that later uses gave some to. */
  #rootsOf(record: UnitRecord): { readonly roots: Tensor[]; readonly weights: Tensor[] } {
    const graph = record.graph ?? this.#again(record);
    const roots: Tensor[] = [];
    const weights: Tensor[] = [];
    for (const [index, port] of record.outputs.entries()) {
      const root = graph[index]!;
      if (port.gradient === null || !root.requiresGrad) continue;
      roots.push(root);
      weights.push(port.gradient);
    }
    for (const port of record.inputs) {
      if (port.gradient === null) continue;
      roots.push(port.leaf);
      weights.push(port.gradient);
    }
    return { roots, weights };
  }

  #unitInputs(record: UnitRecord): void {
    const { unit, inputs } = record;
    const { use } = record.key;
    if (record.outputs.every((port) => port.gradient === null)) {
      this.#deferred.push({ unit, use, weights: null });
      return;
    }
    this.#host.acquire(unit, 'forward');
    try {
      for (const port of inputs) this.#unpark(port);
      const gradients = scope(() => {
        const { roots, weights } = this.#rootsOf(record);
        const trainable = unit.parameters.filter((parameter) => parameter.trainable);
        const split = gradInputs(
          roots,
          inputs.map((port) => port.leaf),
          trainable.map((parameter) => parameter.tensor),
          weights,
        );
        this.#deferred.push({ unit, use, weights: split.deferred });
        return split.gradients;
      });
      for (const [index, port] of inputs.entries()) this.#setGradient(port, gradients[index]!);
    } finally {
      this.#host.release(unit, 'forward');
      for (const tensor of record.graph ?? []) tensor.dispose();
      for (const port of record.outputs) this.#closePort(port);
    }
  }

  #again(record: UnitRecord): readonly Tensor[] {
    randomKeys.apply(record.unit, record.key);
    return withGrad(() => runInside(record.recompute));
  }

  #glueBackward(record: GlueRecord): void {
    const { outputs, roots } = record;
    const reached = outputs.some(({ gradient }) => gradient !== null) ? this.#glueInputs(record) : [];
    if (reached.length > 0) {
      for (const port of [...reached, ...outputs]) this.#unpark(port);
      const graded = [...roots.keys()].filter((index) => outputs[index]!.gradient !== null);
      const partial = reached.filter(({ gradient }) => gradient !== null);
      const gradients = grad(
        [...graded.map((index) => roots[index]!), ...partial.map(({ leaf }) => leaf)],
        reached.map(({ leaf }) => leaf),
        [...graded.map((index) => outputs[index]!.gradient), ...partial.map(({ gradient }) => gradient)],
        true, // glue segments may share parts of one graph; it goes when the tape is cleared
      );
      for (const [index, source] of reached.entries()) this.#setGradient(source, gradients[index]!);
    }
    for (const root of roots) root.dispose();
    for (const port of outputs) this.#closePort(port);
  }

  #glueInputs({ outputs, roots, inputs }: GlueRecord): readonly Port[] {
    if (inputs !== null) return inputs;
    const ports = [...this.#ports.values()].filter((candidate) => !outputs.includes(candidate));
    const found = native().reachableLeaves(
      roots.map(({ handle }) => handle),
      ports.map(({ leaf }) => leaf.handle),
    );
    return found.map((index) => ports[index]!);
  }

  /** Cuts the graph behind one operator outside units, if it has any. */
  #recordGlue(args: unknown, result: unknown, isView: boolean): void {
    const made = distinctTensors(result).filter((tensor) => !this.#ports.has(tensor) && tensor.requiresGrad);
    if (made.length === 0) return;
    const sources = distinctTensors(args).filter((tensor) => tensor.requiresGrad);
    const inputs = sources.map((tensor) => this.#ports.get(tensor));
    const outputs = this.#cut(made, inputs.includes(undefined) ? null : (inputs as Port[]));
    if (isView) for (const port of [...inputs, ...outputs]) if (port !== undefined) port.shared = true;
  }

  #cut(tensors: readonly Tensor[], inputs: readonly Port[] | null): readonly Port[] {
    const roots = tensors.map((tensor) => this.#own(adopt(native().cutGraph(tensor.handle))));
    const outputs = tensors.map((tensor) => this.#openPort(tensor));
    this.#records.push({ kind: 'glue', outputs, roots, inputs });
    return outputs;
  }

  /** Ports of the distinct tensors in `args` that carry gradients; glue results are cut here. */
  #portsOf(args: readonly unknown[]): Port[] {
    return distinctTensors(args)
      .map((tensor) => this.#portOf(tensor))
      .filter((port) => port !== null);
  }

  #portOf(tensor: Tensor): Port | null {
    const known = this.#ports.get(tensor);
    if (known !== undefined) return known;
    if (!tensor.requiresGrad) return null;
    return this.#cut([tensor], null)[0]!;
  }

  #openPort(tensor: Tensor): Port {
    const port: Port = {
      outside: tensor,
      leaf: this.#own(tensor.retain()),
      gradient: null,
      parked: false,
      shared: false,
    };
    this.#ports.set(tensor, port);
    return port;
  }

  /** Nothing recorded earlier can use the port: what made it has been walked. */
  #closePort(port: Port): void {
    port.gradient?.dispose();
    port.gradient = null;
    port.leaf.dispose();
    this.#ports.delete(port.outside);
  }

  /** Parks the inputs that model code has let go of: nothing outside the tape can read them any more. */
  #parkUnheld(): void {
    this.#toPark = this.#toPark.filter((port) => {
      if (port.parked || port.shared) return false; // parked: it is an input of several calls
      if (!port.outside.isDisposed) return true;
      this.#host.park(port.leaf);
      port.parked = true;
      return false;
    });
  }

  #unpark(port: Port): void {
    if (!port.parked) return;
    this.#host.unpark(port.leaf);
    port.parked = false;
  }

  #setGradient(port: Port, gradient: Tensor | null): void {
    if (gradient === null) return;
    port.gradient?.dispose();
    port.gradient = gradient.keep();
  }

  #addGradient(port: Port, gradient: Tensor): void {
    this.#setGradient(port, port.gradient === null ? gradient : ops.add(port.gradient, gradient));
  }

  /** A handle of the tape's own, so that recomputation finds the tensor whatever model code disposes. */
  #save(tensor: Tensor): Tensor {
    return this.#ports.get(tensor)?.leaf ?? this.#own(tensor.retain());
  }

  #own(tensor: Tensor): Tensor {
    this.#owned.push(tensor.keep());
    return tensor;
  }
}

function distinctTensors(value: unknown): Tensor[] {
  const found = new Set<Tensor>();
  forEachTensor(value, (tensor) => found.add(tensor));
  return [...found];
}
