/** Points parameters at the slots their chunks lie in, and takes gradients into slots. */
import type { Chunk, ChunkId, MomentGradient, SlotId } from '../../memory/index.ts';
import { native } from '../../native/load.ts';
import type { Parameter } from '../../nn/index.ts';
import { adopt, type Dtype, dtypeBytes, dtypeCode, noGrad, ops, scope, type Tensor } from '../../tensor/index.ts';
import type { ModelMap } from './stepTrace.ts';
import type { Tiers } from './tiers.ts';

export class Views {
  readonly #map: ModelMap;
  readonly #tiers: Tiers;
  readonly #dtype: Dtype;
  /** The slot each chunk's parameters point at now. */
  readonly #bound = new Map<ChunkId, SlotId>();

  constructor(map: ModelMap, tiers: Tiers, dtype: Dtype) {
    this.#map = map;
    this.#tiers = tiers;
    this.#dtype = dtype;
  }

  /** The parameters of `chunk` are at `slot` from now on. */
  bind(chunk: ChunkId, slot: SlotId): void {
    if (this.#bound.get(chunk) === slot) return;
    const { arena, offset } = this.#tiers.memory(slot);
    const size = dtypeBytes(this.#dtype);
    for (const placed of this.#map.layout.chunks[chunk]!.parameters) {
      const { tensor } = this.#map.parameters[placed.id]!;
      native().bindStorage(tensor.handle, arena, offset + placed.offset * size, placed.elements * size);
    }
    this.#bound.set(chunk, slot);
  }

  /** The parameters of `chunk` have no bytes from now on: using one throws. */
  unbind(chunk: ChunkId): void {
    if (!this.#bound.delete(chunk)) return;
    for (const placed of this.#map.layout.chunks[chunk]!.parameters) {
      native().unbindStorage(this.#map.parameters[placed.id]!.tensor.handle);
    }
  }

  unbindAll(): void {
    for (const chunk of [...this.#bound.keys()]) this.unbind(chunk);
  }

  /**
   * Writes (or adds) gradients into a slot laid out like the chunk, in `dtype`; a parameter without one gets zeros.
   * Padding is left as it is: nothing reads it.
   */
  takeGradients(
    chunk: Chunk,
    { slot, add }: Pick<MomentGradient, 'slot' | 'add'>,
    dtype: Dtype,
    gradientOf: (parameter: Parameter) => Tensor | null,
  ): void {
    const { arena, offset } = this.#tiers.memory(slot);
    const size = dtypeBytes(dtype);
    noGrad(() =>
      scope(() => {
        for (const placed of chunk.parameters) {
          const parameter = this.#map.parameters[placed.id]!;
          const gradient = gradientOf(parameter);
          const at = offset + placed.offset * size;
          if (gradient === null) {
            if (!add) native().arenaFill(arena, at, placed.elements * size, 0);
            continue;
          }
          const target = adopt(native().arenaTensor(arena, at, parameter.shape, dtypeCode(dtype)));
          if (add) ops.addInPlace(target, gradient);
          else ops.copyInto(target, gradient);
        }
      }),
    );
  }

  /** A gradient that changes no sum: x + -0 is x for every x, 0 and -0 included. */
  fillNothing(slot: SlotId, elements: number, dtype: Dtype): void {
    const { arena, offset } = this.#tiers.memory(slot);
    noGrad(() =>
      scope(() => ops.fillInPlace(adopt(native().arenaTensor(arena, offset, [elements], dtypeCode(dtype))), -0)),
    );
  }

  /** A tensor over one parameter's elements in a slot laid out like its chunk. */
  tensorIn(
    place: { readonly arena: number; readonly offset: number },
    chunk: Chunk,
    index: number,
    dtype: Dtype,
  ): Tensor {
    const placed = chunk.parameters[index]!;
    const { shape } = this.#map.parameters[placed.id]!;
    const at = place.offset + placed.offset * dtypeBytes(dtype);
    return adopt(native().arenaTensor(place.arena as never, at, shape, dtypeCode(dtype)));
  }
}
