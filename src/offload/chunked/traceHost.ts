/**
 * Watches one micro-batch: the order of units, their compute time, and the peak of what is not parameters. Parameters
 * are not there yet: every unit computes on the same scratch bytes, whose values do not matter.
 */
import { roundUp } from '../../core/units.ts';
import type { ArenaId } from '../../native/binding.ts';
import { native } from '../../native/load.ts';
import type { Pass, Unit, UnitHost } from '../../nn/index.ts';
import { adopt, type Dtype, dtypeBytes, dtypeCode, noGrad, ops, scope, type Tensor } from '../../tensor/index.ts';
import { cudaIndex } from '../device.ts';

/** One unit visit as it was measured. Byte counts are libtorch's, without parameters. */
export interface Visit {
  readonly unit: Unit;
  readonly pass: Pass;
  readonly seconds: number;
  /** Bytes when the unit was entered, at the highest, and when it was left. */
  readonly beforeBytes: number;
  readonly peakBytes: number;
  readonly afterBytes: number;
}

export class TraceHost implements UnitHost {
  readonly visits: Visit[] = [];
  readonly #arena: ArenaId;
  readonly #dtype: Dtype;
  readonly #device: string;
  #began = 0;
  #before = 0;

  constructor(units: readonly Unit[], dtype: Dtype, device: string) {
    this.#dtype = dtype;
    this.#device = device;
    const bytes = Math.max(...units.map((unit) => unitBytes(unit, dtype)));
    const index = Math.max(0, cudaIndex(device));
    this.#arena = native().arenaCreate('device', bytes, index, false);
    noGrad(() =>
      scope(() => {
        const all = adopt(native().arenaTensor(this.#arena, 0, [bytes / dtypeBytes(dtype)], dtypeCode(dtype)));
        ops.normalInPlace(all, 0, 0.02);
      }),
    );
    for (const unit of units) this.#bind(unit);
  }

  /** Every parameter of the unit at its place in the scratch bytes; a parameter of several units is bound anew by each. */
  #bind(unit: Unit): void {
    let offset = 0;
    for (const parameter of unit.parameters) {
      const bytes = parameter.elements * dtypeBytes(this.#dtype);
      if (!parameter.isPlaced) {
        parameter.place(adopt(native().arenaTensor(this.#arena, offset, parameter.shape, dtypeCode(this.#dtype))));
      } else native().bindStorage(parameter.tensor.handle, this.#arena, offset, bytes);
      offset += roundUp(bytes, 64);
    }
  }

  acquire(unit: Unit): void {
    this.#bind(unit);
    native().synchronize(this.#device);
    native().resetPeakMemory(this.#device);
    this.#before = native().memoryStats(this.#device).allocatedBytes;
    this.#began = performance.now();
  }

  release(unit: Unit, pass: Pass): void {
    native().synchronize(this.#device);
    const seconds = (performance.now() - this.#began) / 1e3;
    const { peakBytes, allocatedBytes } = native().memoryStats(this.#device);
    this.visits.push({ unit, pass, seconds, beforeBytes: this.#before, peakBytes, afterBytes: allocatedBytes });
  }

  gradientsReady(_unit: Unit, _use: number, gradients: readonly (Tensor | null)[]): void {
    for (const gradient of gradients) gradient?.dispose();
  }

  park(): void {}
  unpark(): void {}

  /** Takes the scratch bytes away from the parameters, which stay as tensors without bytes. */
  dispose(units: readonly Unit[]): void {
    for (const unit of units) for (const parameter of unit.parameters) native().unbindStorage(parameter.tensor.handle);
    native().arenaDestroy(this.#arena);
  }
}

function unitBytes(unit: Unit, dtype: Dtype): number {
  return unit.parameters.reduce((sum, { elements }) => sum + roundUp(elements * dtypeBytes(dtype), 64), 64);
}
