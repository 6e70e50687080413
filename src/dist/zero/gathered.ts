/**
 * Whole parameters on the compute device, put together from all ranks' shards: the model's parameters point at them while
 * their unit is at work. They are ordinary leaves whose storage is given bytes and loses them, also under a live graph.
 */
import type { ArenaId } from '../../native/binding.ts';
import { native } from '../../native/load.ts';
import type { Parameter, Unit } from '../../nn/index.ts';
import { cudaIndex } from '../../offload/device.ts';
import { adopt, type Dtype, dtypeBytes, dtypeCode, noGrad, ops, scope, type Tensor } from '../../tensor/index.ts';
import type { Group, Work } from '../group.ts';
import { type Flat, gatheredElements } from './flats.ts';
import type { Room, Seat } from './rooms.ts';
import type { ShardModel } from './shardModel.ts';

export interface GatheredOptions {
  readonly shards: ShardModel;
  /** By `Flat.spread`. */
  readonly groups: readonly Group[];
  readonly room: Room;
  /** The whole model's parameters. */
  readonly parameters: readonly Parameter[];
  readonly dtype: Dtype;
  readonly device: string;
}

/** A unit's parameters on their way; `finish` waits for them. Tensors that are sent are kept until then. */
export interface Arriving {
  readonly unit: number;
  readonly seat: Seat;
  readonly works: readonly Work[];
  readonly held: readonly Tensor[];
}

export class Gathered {
  readonly #options: GatheredOptions;
  readonly #arena: ArenaId;
  readonly #elementBytes: number;

  /** Takes the room and places every parameter of the model, without bytes. */
  constructor(options: GatheredOptions) {
    const { room, dtype, device, parameters } = options;
    this.#options = options;
    this.#elementBytes = dtypeBytes(dtype);
    const index = Math.max(0, cudaIndex(device));
    this.#arena = native().arenaCreate('device', Math.max(4096, room.bytes), index, true);
    noGrad(() =>
      scope(() => {
        // The watched micro-batch computes on whatever is here: ordinary numbers take ordinary time.
        if (room.bytes > 0) ops.normalInPlace(this.#tensor(0, room.bytes / this.#elementBytes), 0, 0.02);
        for (const parameter of parameters) {
          parameter.place(adopt(native().arenaTensor(this.#arena, 0, parameter.shape, dtypeCode(dtype))));
          native().unbindStorage(parameter.tensor.handle);
        }
      }),
    );
  }

  #tensor(offset: number, elements: number): Tensor {
    return adopt(native().arenaTensor(this.#arena, offset, [elements], dtypeCode(this.#options.dtype)));
  }

  /** A place for the unit whose contents do not matter. */
  seat(unit: number): Seat {
    return this.#options.room.enter(unit, null)!;
  }

  /** Whether a unit has room, gathered or not, beside the unit `beside`. */
  hasRoom(unit: number, beside: number): boolean {
    return this.#options.room.fits(unit, beside);
  }

  /**
   * Starts to gather what is missing of a unit beside the unit `beside`; null when both have no room. `sendable` gives the
   * tensor of this rank's shard, which must stay as it is until the gathering is finished.
   */
  start(unit: number, beside: number | null, sendable: (flat: Flat) => Tensor): Arriving | null {
    const { room, groups, shards } = this.#options;
    const seat = room.enter(unit, beside);
    if (seat === null) return null;
    const held: Tensor[] = [];
    const works = noGrad(() =>
      seat.missing.map((flat) => {
        const into = this.#tensor(seat.offsets.get(flat)!, gatheredElements(flat, shards.placeOf(flat).size)).keep();
        const from = sendable(flat).keep();
        held.push(into, from);
        return groups[flat.spread]!.allGather(into, from);
      }),
    );
    return { unit, seat, works, held };
  }

  finish({ works, held }: Arriving): void {
    try {
      for (const work of works) work.wait();
    } finally {
      for (const tensor of held) tensor.dispose();
    }
  }

  /** The unit's parameters are where `seat` says. */
  bind(unit: Unit, { offsets }: Seat): void {
    for (const flat of this.#options.shards.flatsOf(unit.index)) {
      const begin = offsets.get(flat)!;
      for (const { parameter, offset } of flat.parameters) {
        const at = begin + offset * this.#elementBytes;
        native().bindStorage(parameter.tensor.handle, this.#arena, at, parameter.elements * this.#elementBytes);
      }
    }
  }

  /** They have no bytes from now on: using one throws. */
  unbind(unit: Unit): void {
    for (const parameter of unit.parameters) native().unbindStorage(parameter.tensor.handle);
  }

  /** All values are old. */
  forget(): void {
    this.#options.room.empty();
  }

  dispose(): void {
    for (const parameter of this.#options.parameters) parameter.unplace();
    native().arenaDestroy(this.#arena);
  }
}
