import { MiB } from '../../core/units.ts';
import {
  alignChunk,
  type Chunk,
  layOut,
  type StateFormat,
  stateBytes,
  stateBytesPerElement,
} from '../../memory/index.ts';
import type { TensorHandle, UpdateGroup } from '../../native/binding.ts';
import { native } from '../../native/load.ts';
import { adopt, type Dtype, dtypeBytes, dtypeCode, noGrad, ops, scope, type Tensor } from '../../tensor/index.ts';
import { compressedPlanes } from '../compressedPlanes.ts';
import { cudaIndex } from '../device.ts';
import { elementTypes } from '../elementTypes.ts';
import { Bench, leastOf, secondsFor } from './bench.ts';

export interface UpdateRates {
  /** Parameters per second of AdamW by the host optimizer, on states as the run keeps them. */
  readonly hostUpdateParameters: number;
  /** Bytes of host memory that one of these updates reads and writes. */
  readonly hostUpdateBytes: number;
  /** The same where the compute device updates what it keeps. */
  readonly deviceUpdateParameters: number;
  /** Bytes of host memory per second that a copy on all threads reaches: reads and writes counted. */
  readonly copyBytes: number;
}

export interface UpdateOptions {
  readonly device: string;
  readonly dtype: Dtype;
  readonly stateDtype: Dtype;
  readonly states: StateFormat;
  readonly threads: number;
  readonly updateThreads: number;
  /** Of host memory, which all of this goes through: more than the caches hold. */
  readonly bytes: number;
}

const leastElements = 4 * 2 ** 20;

const group: UpdateGroup = {
  lr: 1e-3,
  beta1: 0.9,
  beta2: 0.95,
  eps: 1e-8,
  weightDecay: 0.1,
  biasCorrection1: 0.1,
  biasCorrection2: 0.05,
  momentum: 0,
  nesterov: false,
};

/** On the host one arena serves all: the first touch of so much memory takes longer than any round in it. */
export function measureUpdates({
  device,
  dtype,
  stateDtype,
  states,
  threads,
  updateThreads,
  bytes,
}: UpdateOptions): UpdateRates {
  const narrow = dtypeBytes(dtype);
  const types = elementTypes(dtype, states);
  const perElement = stateBytesPerElement(types);
  const elements = Math.max(leastElements, alignChunk(Math.floor(bytes / (perElement + narrow))));
  const { chunks } = layOut([{ id: 0, name: 'all', unit: 0, elements, trainable: true, group: 0 }]);
  const [chunk] = chunks as [Chunk];
  const stateSize = stateBytes(chunk, types);
  const bench = new Bench(-1, updateThreads);
  try {
    const arenaBytes = stateSize + elements * narrow;
    const arena = bench.arena('host', arenaBytes, -1);
    const parameter = { arena, offset: stateSize, dtype: dtypeCode(dtype) };
    const update = leastOf(3, () =>
      bench.run([
        {
          lane: 'update',
          chunk: 0,
          rule: 'adamw',
          count: elements,
          gradients: [parameter],
          state: { arena, offset: 0, dtype: dtypeCode(states === 'compressed' ? dtype : stateDtype) },
          planes: compressedPlanes(chunk, types),
          stateOut: null,
          parameterOut: parameter,
          segments: [{ begin: 0, count: elements, group: 0, firstScale: 0 }],
          groups: [group],
          scaleCell: -1,
        },
      ]),
    );
    const hostUpdateParameters = elements / update;
    // Where RAM plays the GPU the same threads do the same in the same memory.
    const deviceUpdateParameters =
      device === 'cpu' ? hostUpdateParameters : gpuUpdate(device, dtype, stateDtype, updateThreads);
    const half = Math.floor(arenaBytes / 8);
    const inArena = (offset: number): Tensor =>
      adopt(native().arenaTensor(arena, offset, [half], dtypeCode('float32')));
    const copy = scope(() => copySeconds(inArena(0), inArena(4 * half), threads));
    const hostUpdateBytes = 2 * narrow + 2 * perElement;
    return { hostUpdateParameters, hostUpdateBytes, deviceUpdateParameters, copyBytes: (2 * 4 * half) / copy };
  } finally {
    bench.dispose();
  }
}

/** A GPU's caches hold up to a few hundred MiB. */
const gpuBytes = 1024 * MiB;

function gpuUpdate(device: string, dtype: Dtype, stateDtype: Dtype, threads: number): number {
  const { freeBytes } = native().deviceInfo(cudaIndex(device));
  const perElement = 2 * dtypeBytes(dtype) + 3 * dtypeBytes(stateDtype);
  const elements = Math.max(leastElements, Math.floor(Math.min(gpuBytes, freeBytes / 16) / perElement));
  return scope(() =>
    noGrad(() => {
      const handle = (type: Dtype): TensorHandle => ops.zeros([elements], { dtype: type, device }).handle;
      const [gradient, parameterOut] = [handle(dtype), handle(dtype)];
      const [master, m, v] = [handle(stateDtype), handle(stateDtype), handle(stateDtype)];
      const seconds = leastOf(3, () =>
        secondsFor(() => {
          native().optimizerUpdate('adamw', group, 1, { gradient, master, m, v, parameterOut }, threads);
          native().synchronize(device);
        }),
      );
      return elements / seconds;
    }),
  );
}

function copySeconds(from: Tensor, to: Tensor, threads: number): number {
  const before = native().getThreads();
  native().setThreads(threads);
  try {
    return leastOf(3, () => secondsFor(() => native().castInto(to.handle, from.handle, threads)));
  } finally {
    native().setThreads(before);
  }
}
