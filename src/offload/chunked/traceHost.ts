/**
 * Watches one micro-batch: the order of units, their compute time, and the peak of what is not parameters. Parameters
 * are not there yet: every unit computes on the same scratch bytes, whose values do not matter.
 */
import { roundUp } from '../../core/units.ts';
import type { ParkEvent } from '../../memory/index.ts';
import type { ArenaId } from '../../native/binding.ts';
import { native } from '../../native/load.ts';
import type { Pass, Unit, UnitHost } from '../../nn/index.ts';
import { adopt, type Dtype, dtypeBytes, dtypeCode, noGrad, ops, scope, type Tensor } from '../../tensor/index.ts';
import { cudaIndex } from '../device.ts';
import { absentVisit } from './stepTrace.ts';

/** One unit visit as it was measured. Byte counts are libtorch's, without parameters. */
export interface Visit {
  readonly unit: Unit;
  readonly pass: Pass;
  readonly seconds: number;
  /** Bytes when the unit was entered, at the highest, and when it was left. */
  readonly beforeBytes: number;
  readonly peakBytes: number;
  readonly afterBytes: number;
  /** Parked bytes that came back while the unit was at work. */
  readonly unparkedBytes?: number;
  /** Backward: which of the unit's calls in the micro-batch it goes back through. */
  readonly use?: number;
  /** Nothing is computed: the unit was called, and nothing depended on the call. */
  readonly isAbsent?: boolean;
}

interface Away {
  readonly index: number;
  readonly bytes: Uint8Array;
}

export class TraceHost implements UnitHost {
  readonly visits: Visit[] = [];
  readonly parked: ParkEvent[] = [];
  readonly #away = new Map<Tensor, Away>();
  #parkedCount = 0;
  #unparkedBytes = 0;
  #inside = false;
  #use: number | undefined;
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
    this.#inside = true;
    this.#use = undefined;
    this.#unparkedBytes = 0;
    this.#began = performance.now();
  }

  release(unit: Unit, pass: Pass): void {
    native().synchronize(this.#device);
    const seconds = (performance.now() - this.#began) / 1e3;
    const { peakBytes, allocatedBytes } = native().memoryStats(this.#device);
    const bytes = { beforeBytes: this.#before, peakBytes, afterBytes: allocatedBytes };
    const use = this.#use === undefined ? {} : { use: this.#use };
    this.visits.push({ unit, pass, seconds, ...bytes, unparkedBytes: this.#unparkedBytes, ...use });
    this.#inside = false;
  }

  gradientsReady(unit: Unit, use: number, gradients: readonly (Tensor | null)[]): void {
    for (const gradient of gradients) gradient?.dispose();
    if (this.#inside) this.#use = use;
    else this.visits.push(absentVisit(unit, use));
  }

  /** The bytes go to a buffer aside, so that the peaks are those of a step that parks. */
  park(tensor: Tensor): void {
    this.#aside(() => this.#takeAway(tensor));
  }

  #takeAway(tensor: Tensor): void {
    const bytes = new Uint8Array(native().info(tensor.handle).storageBytes);
    const index = this.#parkedCount++;
    if (bytes.length === 0) return;
    const arena = native().storageTake(tensor.handle);
    native().arenaRead(arena, 0, bytes);
    native().storageLetGo(arena);
    this.#away.set(tensor, { index, bytes });
    this.parked.push({ kind: 'park', index, bytes: bytes.length });
  }

  unpark(tensor: Tensor): void {
    const away = this.#away.get(tensor);
    if (away === undefined) return;
    this.#away.delete(tensor);
    this.#aside(() => this.#bringBack(tensor, away));
  }

  #bringBack(tensor: Tensor, { index, bytes }: Away): void {
    const arena = native().storageMake(tensor.handle, bytes.length);
    native().arenaWrite(arena, 0, bytes);
    native().storageGive(tensor.handle, arena);
    this.parked.push({ kind: 'unpark', index, bytes: bytes.length });
    this.#unparkedBytes += bytes.length;
  }

  /** Runs `body` outside of the unit's time: in a step the copy lanes do it while others compute. */
  #aside(body: () => void): void {
    native().synchronize(this.#device);
    const began = performance.now();
    body();
    native().synchronize(this.#device);
    this.#began += performance.now() - began;
  }

  /** Watches once more: what was seen so far is dropped. */
  restart(): void {
    this.visits.length = 0;
    this.parked.length = 0;
    this.#parkedCount = 0;
    this.#away.clear();
  }

  /** Takes the scratch bytes away from the parameters, which stay as tensors without bytes. */
  dispose(units: readonly Unit[]): void {
    for (const unit of units) for (const parameter of unit.parameters) native().unbindStorage(parameter.tensor.handle);
    native().arenaDestroy(this.#arena);
  }
}

function unitBytes(unit: Unit, dtype: Dtype): number {
  return unit.parameters.reduce((sum, { elements }) => sum + roundUp(elements * dtypeBytes(dtype), 64), 64);
}
