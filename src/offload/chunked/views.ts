/** Points parameters at the slots their chunks lie in, and takes gradients into slots. */
import type { Chunk, ChunkId, MomentGradient, SlotId } from '../../memory/index.ts';
import { native } from '../../native/load.ts';
import type { Parameter } from '../../nn/index.ts';
import { adopt, type Dtype, dtypeBytes, dtypeCode, noGrad, ops, scope, type Tensor } from '../../tensor/index.ts';
import type { ModelMap } from './stepTrace.ts';
import type { Tiers } from './tiers.ts';

/** Where the gradients of one chunk go, and in which type. */
export interface GradientPlace extends Pick<MomentGradient, 'slot' | 'add'> {
  readonly chunk: Chunk;
  readonly dtype: Dtype;
}

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
   * Writes (or adds) gradients into slots laid out like their chunks; a parameter without one gets zeros. Padding is left as it is:
   * nothing reads it.
   */
  takeGradients(places: readonly GradientPlace[], gradientOf: (parameter: Parameter) => Tensor | null): void {
    noGrad(() =>
      scope(() => {
        const [into, from]: [Tensor[], Tensor[]] = [[], []];
        for (const { chunk, slot, add, dtype } of places) {
          const memory = this.#tiers.memory(slot);
          for (const [index, placed] of chunk.parameters.entries()) {
            const gradient = gradientOf(this.#map.parameters[placed.id]!);
            if (gradient === null) {
              const size = dtypeBytes(dtype);
              if (!add)
                native().arenaFill(memory.arena, memory.offset + placed.offset * size, placed.elements * size, 0);
              continue;
            }
            const target = this.tensorIn(memory, chunk, index, dtype);
            if (add) {
              ops.addInPlace(target, gradient);
            } else {
              into.push(target);
              from.push(gradient);
            }
          }
        }
        ops.copyEachInto(into, from);
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
