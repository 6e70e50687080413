import { exactUpdateBytes, type Machine } from './machine.ts';
import type { Lane } from './plan.ts';

/**
 * Bytes per second of each busy lane, in the order `read, write, toDevice, toHost, update`. Copies slow down when others run,
 * reads and writes beside each other; all share the host's memory bandwidth in proportion to what they ask for.
 */
export class LaneRates {
  readonly #machine: Machine;
  readonly #rates = new Float64Array(5);

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  /** The lane's rate with nothing beside it. */
  alone(lane: Lane): number {
    const machine = this.#machine;
    if (lane === 'read') return machine.fromDisk.alone;
    if (lane === 'write') return machine.toDisk.alone;
    if (lane === 'toDevice') return machine.toDevice.alone;
    if (lane === 'toHost') return machine.toHost.alone;
    return Math.min(
      machine.hostUpdateParameters * (machine.hostUpdateBytes ?? exactUpdateBytes),
      machine.hostDramBytes,
    );
  }

  /** The update lane's rate while it adds up gradients. */
  #sums(): number {
    return Math.min(this.#machine.hostSumBytes ?? this.alone('update'), this.#machine.hostDramBytes);
  }

  /** Valid until the next call. `sums`: what the update lane does is adding up gradients. */
  of(busy: readonly boolean[], sums = false): Float64Array {
    const rates = this.#rates;
    const machine = this.#machine;
    const [read, write, toDevice, toHost, update] = busy as [boolean, boolean, boolean, boolean, boolean];
    rates[0] = read ? (write ? machine.fromDisk.together : machine.fromDisk.alone) : 0;
    rates[1] = write ? (read ? machine.toDisk.together : machine.toDisk.alone) : 0;
    rates[2] = toDevice ? (toHost || update ? machine.toDevice.together : machine.toDevice.alone) : 0;
    rates[3] = toHost ? (toDevice || update ? machine.toHost.together : machine.toHost.alone) : 0;
    rates[4] = update ? (sums ? this.#sums() : this.alone('update')) : 0;
    const wanted = rates[0] + rates[1] + rates[2] + rates[3] + rates[4];
    if (wanted > machine.hostDramBytes) {
      const scale = machine.hostDramBytes / wanted;
      for (let lane = 0; lane < 5; lane++) rates[lane]! *= scale;
    }
    return rates;
  }
}
