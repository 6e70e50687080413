import { native } from '../../native/load.ts';
import { type Dtype, dtypeBytes, noGrad, ops, scope, type Tensor } from '../../tensor/index.ts';
import { medianOf, secondsFor } from './bench.ts';

export interface ComputeRates {
  /** FLOP/s of matrix multiplications in the compute type. */
  readonly computeFlops: number;
  /** Bytes per second, read and written, of operators that are none. */
  readonly elementwiseBytes: number;
  /** Fixed cost of one operator. */
  readonly operatorSeconds: number;
}

/** Rates of the compute device with the threads that libtorch has now. */
export function measureCompute(device: string, dtype: Dtype): ComputeRates {
  const timed = (body: () => void): number =>
    secondsFor(() => {
      scope(() => noGrad(body));
      native().synchronize(device);
    });
  return scope(() =>
    noGrad(() => {
      const random = (shape: readonly number[]): Tensor => {
        const tensor = ops.empty(shape, { dtype, device });
        ops.normalInPlace(tensor, 0, 0.02);
        return tensor;
      };
      const size = device === 'cpu' ? 768 : 8192;
      const [a, b] = [random([size, size]), random([size, size])];
      const turned = ops.transpose(a, 0, 1);
      // Forward, and backward's two products of turned operands.
      const matmul = medianOf(9, () => timed(() => [ops.matmul(a, b), ops.matmul(turned, b), ops.matmul(b, turned)]));
      const [rows, width] = device === 'cpu' ? [1024, 2048] : [8192, 8192];
      const [x, weight] = [random([rows, width]), random([width])];
      const elementwise = medianOf(9, () =>
        timed(() => {
          ops.add(ops.gelu(ops.layerNorm(x, [width], weight, weight, 1e-5), 'tanh'), x);
        }),
      );
      const one = random([1]);
      const calls = 100;
      const tiny = medianOf(3, () =>
        timed(() => {
          for (let call = 0; call < calls; call++) ops.add(one, one);
        }),
      );
      return {
        computeFlops: (3 * 2 * size ** 3) / matmul,
        // In and out of a norm and an activation, two in and one out of an addition.
        elementwiseBytes: (7 * rows * width * dtypeBytes(dtype)) / elementwise,
        operatorSeconds: tiny / calls,
      };
    }),
  );
}
