/**
 * `Tensor`: a handle on a libtorch tensor with typed methods. Every method returns a new tensor unless its name ends in
 * `_` (in place). Shapes are in elements; dimensions count from 0, negative ones from the end.
 */
import { check, TierraError } from '../core/errors.ts';
import type { DeviceName, TensorHandle, TensorInfo } from '../native/binding.ts';
import { native } from '../native/load.ts';
import { type Dtype, dtypeBytes, dtypeFromCode } from './dtype.ts';
import { currentScope, type Scope, tensorBrand } from './scope.ts';

let made = 0;

/** How many tensor objects there have been: those made later have a larger `serial`. */
export const tensorsMade = (): number => made;

export class Tensor {
  readonly [tensorBrand] = true;
  /** Tensor objects count from 1, in the order in which they were made. */
  readonly serial = ++made;
  #handle: TensorHandle | null;
  #owner: Scope | null;
  #info: TensorInfo | null = null;

  /** Use `adopt` or a factory function; the constructor takes ownership of `handle`. */
  constructor(handle: TensorHandle) {
    this.#handle = handle;
    this.#owner = currentScope();
    this.#owner?.tensors.push(this);
  }

  /** The native handle. Throws `E_STATE` after disposal. */
  get handle(): TensorHandle {
    if (this.#handle === null) {
      throw new TierraError(
        'E_STATE',
        `this tensor${this.#info === null ? '' : ` of shape [${this.#info.shape}]`} was disposed`,
        {
          hint: 'Tensors made inside a scope (a unit, a training step) end with it: return them, or call keep() to own them.',
        },
      );
    }
    return this.#handle;
  }

  get isDisposed(): boolean {
    return this.#handle === null;
  }

  #known(): TensorInfo {
    this.#info ??= native().info(this.handle);
    return this.#info;
  }

  get shape(): readonly number[] {
    return this.#known().shape;
  }

  get dtype(): Dtype {
    return dtypeFromCode(this.#known().dtype);
  }

  get device(): DeviceName {
    return this.#known().device;
  }

  /** Number of elements. */
  get elements(): number {
    return this.shape.reduce((product, size) => product * size, 1);
  }

  /** Bytes of the elements, contiguous. */
  get bytes(): number {
    return this.elements * dtypeBytes(this.dtype);
  }

  get requiresGrad(): boolean {
    return native().info(this.handle).requiresGrad;
  }

  /** Marks a leaf for gradients; returns itself. */
  requireGrad(on = true): this {
    native().setRequiresGrad(this.handle, on);
    return this;
  }

  /** The size of dimension `dim`. */
  size(dim: number): number {
    const size = this.shape.at(dim);
    check(size !== undefined, `dimension ${dim} of a tensor of shape [${this.shape}] does not exist`);
    return size;
  }

  /** The single element as a number; waits for the device. */
  item(): number {
    return native().item(this.handle);
  }

  /** A second tensor object on the same data and graph, owned by nobody but the caller. */
  retain(): Tensor {
    return new Tensor(native().retain(this.handle)).keep();
  }

  /** Takes the tensor out of its scope: from now on the caller disposes it. Returns itself. */
  keep(): this {
    this.#owner = null;
    return this;
  }

  /** Frees the handle; libtorch keeps the memory only while a graph needs it. Disposing twice is allowed. */
  dispose(): void {
    if (this.#handle === null) return;
    const handle = this.#handle;
    this.#handle = null;
    native().release(handle);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** For scopes only: hands the tensor over when it belongs to `from`. */
  moveTo(from: Scope, to: Scope | null): void {
    if (this.#owner !== from) return;
    this.#owner = to;
    to?.tensors.push(this);
  }

  /** For scopes only: gives up the handle when the tensor still belongs to `owner`. */
  surrender(owner: Scope): TensorHandle | null {
    if (this.#owner !== owner) return null;
    const handle = this.#handle;
    this.#handle = null;
    return handle;
  }
}

/** Wraps a handle that the caller owns. */
export function adopt(handle: number): Tensor {
  return new Tensor(handle as TensorHandle);
}
