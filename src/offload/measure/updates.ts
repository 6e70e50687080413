import type { UpdateGroup } from '../../native/binding.ts';
import { native } from '../../native/load.ts';
import { type Dtype, dtypeBytes, dtypeCode, noGrad, ops, scope } from '../../tensor/index.ts';
import { Bench, leastOf, secondsFor } from './bench.ts';

const elements = 4 * 2 ** 20;

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

/** Parameters per second of AdamW on the host, on `threads` threads, over a chunk larger than the caches. */
export function measureHostUpdate(dtype: Dtype, stateDtype: Dtype, threads: number): number {
  const bench = new Bench(-1, threads);
  try {
    const [narrow, wide] = [dtypeBytes(dtype) * elements, dtypeBytes(stateDtype) * elements];
    const arena = bench.arena('host', 3 * wide + narrow, -1);
    const parameter = { arena, offset: 3 * wide, dtype: dtypeCode(dtype) };
    const seconds = leastOf(3, () =>
      bench.run([
        {
          lane: 'update',
          chunk: 0,
          rule: 'adamw',
          count: elements,
          gradients: [parameter],
          state: { arena, offset: 0, dtype: dtypeCode(stateDtype) },
          stateOut: null,
          parameterOut: parameter,
          segments: [{ begin: 0, count: elements, group: 0 }],
          groups: [group],
          scaleCell: -1,
        },
      ]),
    );
    return elements / seconds;
  } finally {
    bench.dispose();
  }
}

/** The same where the compute device updates what it keeps. */
export function measureDeviceUpdate(device: string, dtype: Dtype, stateDtype: Dtype, threads: number): number {
  return scope(() =>
    noGrad(() => {
      const tensor = (type: Dtype) => ops.zeros([elements], { dtype: type, device });
      const [gradient, master, m, v, out] = [
        tensor(dtype),
        tensor(stateDtype),
        tensor(stateDtype),
        tensor(stateDtype),
        tensor(dtype),
      ];
      const tensors = {
        gradient: gradient.handle,
        master: master.handle,
        m: m.handle,
        v: v.handle,
        parameterOut: out.handle,
      };
      const seconds = leastOf(3, () =>
        secondsFor(() => {
          native().optimizerUpdate('adamw', group, 1, tensors, threads);
          native().synchronize(device);
        }),
      );
      return elements / seconds;
    }),
  );
}

/** Bytes of host memory traffic per second that a copy on all threads reaches: reads and writes counted. */
export function measureDram(threads: number): number {
  const before = native().getThreads();
  native().setThreads(threads);
  try {
    return scope(() =>
      noGrad(() => {
        const from = ops.zeros([8 * elements], { dtype: 'float32', device: 'cpu' });
        const to = ops.zeros([8 * elements], { dtype: 'float32', device: 'cpu' });
        const seconds = leastOf(3, () => secondsFor(() => native().castInto(to.handle, from.handle, threads)));
        return (2 * 4 * 8 * elements) / seconds;
      }),
    );
  } finally {
    native().setThreads(before);
  }
}
