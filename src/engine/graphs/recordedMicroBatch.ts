/**
 * Forward and backward of one micro-batch as a graph of launches. Everything it reads and writes lies at fixed places: parameters where
 * they are, inputs in copies of its own, loss and gradients in its pool. What launches did while recording they do again
 * at each replay, with the same numbers wherever those came from the host.
 */
import type { GraphId } from '../../native/binding.ts';
import { native } from '../../native/load.ts';
import { Tape, type Unit, type UnitHost } from '../../nn/index.ts';
import { noGrad, ops, scope, type Tensor } from '../../tensor/index.ts';
import { watchingArguments } from '../../tensor/operator.ts';
import { mapTensors } from '../../tensor/scope.ts';
import { tensorsMade } from '../../tensor/tensor.ts';
import { tensorsIn } from './kind.ts';

export interface RecordingParts<Input> {
  readonly device: string;
  readonly input: Input;
  /** The model's loss. */
  readonly forward: (input: Input) => Tensor;
  /** What backward starts from. */
  readonly scale: number;
}

interface Handed {
  readonly unit: Unit;
  readonly use: number;
  readonly gradients: readonly (Tensor | null)[];
}

/** In the store's place while recording: parameters stay where they are, gradients are noted. */
class Recorder implements UnitHost {
  readonly handed: Handed[] = [];

  acquire(): void {}
  release(): void {}
  park(): void {}
  unpark(): void {}

  gradientsReady(unit: Unit, use: number, gradients: readonly (Tensor | null)[]): void {
    this.handed.push({ unit, use, gradients: gradients.map((gradient) => gradient?.keep() ?? null) });
  }
}

export class RecordedMicroBatch<Input> {
  readonly #graph: GraphId;
  readonly #inputs: readonly Tensor[];
  /** Tensors from before that the graph reads, such as tables of positions: they must not be freed. */
  readonly #outside = new Map<Tensor, Tensor>();
  readonly #recorder = new Recorder();
  #loss: Tensor | null = null;
  /** Device memory of its own. */
  readonly bytes: number;
  /** Launches, copies and fills. */
  readonly nodes: number;

  /**
   * Records; nothing of it runs yet. Throws when something in it cannot be recorded (`E_UNSUPPORTED`, or whatever libtorch
   * says of it), after which everything is as before.
   */
  constructor({ device, input, forward, scale }: RecordingParts<Input>) {
    const copies = new Map(noGrad(() => tensorsIn(input).map((tensor) => [tensor, ops.clone(tensor).keep()] as const)));
    this.#inputs = [...copies.values()];
    const fixed = mapTensors(input, (tensor) => copies.get(tensor)!);
    // What plain micro-batches left in libtorch's cache is not for graphs.
    native().emptyCache();
    this.#graph = native().graphBegin(device);
    try {
      scope(() => this.#record(() => forward(fixed), scale));
      const { bytes, nodes } = native().graphEnd(this.#graph);
      this.bytes = bytes;
      this.nodes = nodes;
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  #record(forward: () => Tensor, scale: number): void {
    const before = tensorsMade();
    const tape = new Tape(this.#recorder);
    const hold = (tensor: Tensor): void => {
      if (tensor.serial <= before && !this.#outside.has(tensor)) this.#outside.set(tensor, tensor.retain());
    };
    try {
      watchingArguments(hold, () => {
        const loss = tape.record(forward);
        this.#loss = loss.retain();
        tape.backward(loss, { scale });
      });
    } finally {
      tape.clear();
    }
  }

  /** Runs it on `input`, which is of the kind it was recorded for; gradients go to `host` as from a tape. Returns the loss. */
  replay(input: Input, host: Pick<UnitHost, 'gradientsReady'>): Tensor {
    return noGrad(() => {
      for (const [index, tensor] of tensorsIn(input).entries()) ops.copyInto(this.#inputs[index]!, tensor);
      native().graphReplay(this.#graph);
      for (const { unit, use, gradients } of this.#recorder.handed) {
        // Second handles: the host frees what it is given. It must not write there, which stores do not do.
        host.gradientsReady(
          unit,
          use,
          gradients.map((gradient) => gradient?.retain() ?? null),
        );
      }
      // The next replay writes over the graph's own.
      return ops.clone(this.#loss!);
    });
  }

  dispose(): void {
    const gradients = this.#recorder.handed.flatMap((handed) => handed.gradients);
    for (const tensor of [...this.#inputs, ...this.#outside.values(), ...gradients, this.#loss]) tensor?.dispose();
    native().graphDestroy(this.#graph);
    native().emptyCache();
  }
}
