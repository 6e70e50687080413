/**
 * Tensors from rank to rank. The receiver learns shape and element type from a small message before the first tensor that
 * crosses an edge for inputs of these shapes; later ones need none.
 */
import { TierraError } from '../../core/errors.ts';
import type { DeviceName } from '../../native/binding.ts';
import { type Dtype, dtypeCode, dtypeFromCode, noGrad, ops, scope, type Tensor } from '../../tensor/index.ts';
import type { Group, Work } from '../group.ts';

export interface TensorForm {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
}

export const formOf = ({ dtype, shape }: Tensor): TensorForm => ({ dtype, shape });

/** Numbers of a form message: element type, number of dimensions, sizes. */
const formNumbers = 10;
const formForm: TensorForm = { dtype: 'int64', shape: [formNumbers] };

function readForm(message: Tensor): TensorForm {
  const bytes = ops.toBytes(message);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const numbers = Array.from({ length: formNumbers }, (_, at) => Number(view.getBigInt64(8 * at, true)));
  const [code, dimensions, ...sizes] = numbers as [number, number, ...number[]];
  return { dtype: dtypeFromCode(code), shape: sizes.slice(0, dimensions) };
}

/** Sends under way to one rank before the oldest is waited for. */
export const mostLeaving = 2;

export interface Arriving {
  readonly tensor: Tensor;
  readonly work: Work;
}

export class Messages {
  readonly #group: Group;
  readonly #device: DeviceName;
  /** What is on its way, by receiver, oldest first: tensors stay until their work is done. */
  readonly #leaving = new Map<number, { readonly tensor: Tensor; readonly work: Work }[]>();

  constructor(group: Group, device: DeviceName) {
    this.#group = group;
    this.#device = device;
  }

  /** Sends the elements of `tensor`, of which a handle of its own is kept until they are gone. */
  send(tensor: Tensor, to: number): void {
    const sent = noGrad(() => scope(() => ops.contiguous(ops.detach(tensor)))).keep();
    const queue = this.#leaving.get(to) ?? [];
    this.#leaving.set(to, queue);
    queue.push({ tensor: sent, work: this.#group.send(sent, to) });
    this.#settle(to, mostLeaving);
  }

  sendForm(form: TensorForm, to: number): void {
    scope(() => this.send(this.#written(form), to));
  }

  /** Waits for the message. */
  receiveForm(from: number): TensorForm {
    const { tensor, work } = this.receive(formForm, from);
    work.wait();
    const form = readForm(tensor);
    tensor.dispose();
    return form;
  }

  /** The form that `root` knows, on every rank. */
  shareForm(form: TensorForm | null, root: number): TensorForm {
    return scope(() => {
      const message =
        form === null ? ops.zeros(formForm.shape, { dtype: 'int64', device: this.#device }) : this.#written(form);
      this.#group.broadcast(message, root).wait();
      return readForm(message);
    });
  }

  /** The tensor that `root` has, on every rank, in the caller's scope; `own` is null elsewhere. */
  share(own: Tensor | null, { dtype, shape }: TensorForm, root: number): Tensor {
    return noGrad(() =>
      scope(() => {
        const tensor =
          own === null ? ops.empty(shape, { dtype, device: this.#device }) : ops.clone(ops.contiguous(own));
        this.#group.broadcast(tensor, root).wait();
        return tensor;
      }),
    );
  }

  #written({ dtype, shape }: TensorForm): Tensor {
    if (shape.length > formNumbers - 2) {
      throw new TierraError('E_UNSUPPORTED', `pipeline: a tensor of ${shape.length} dimensions crosses two stages`);
    }
    const numbers = [dtypeCode(dtype), shape.length, ...shape];
    const padded = numbers.concat(Array.from({ length: formNumbers - numbers.length }, () => 0));
    return ops.fromArray(BigInt64Array.from(padded, BigInt), formForm.shape, { device: this.#device });
  }

  /** The tensor, which belongs to the caller, is complete once `work` is. */
  receive({ dtype, shape }: TensorForm, from: number): Arriving {
    const tensor = noGrad(() => ops.empty(shape, { dtype, device: this.#device })).keep();
    return { tensor, work: this.#group.receive(tensor, from) };
  }

  #settle(to: number, most: number): void {
    const queue = this.#leaving.get(to) ?? [];
    while (queue.length > most) {
      const { tensor, work } = queue.shift()!;
      work.wait();
      tensor.dispose();
    }
  }

  /** Waits until everything has left. */
  settle(): void {
    for (const to of this.#leaving.keys()) this.#settle(to, 0);
  }

  /** After an error: frees what was on its way. */
  drop(): void {
    for (const queue of this.#leaving.values()) for (const { tensor } of queue.splice(0)) tensor.dispose();
  }
}
