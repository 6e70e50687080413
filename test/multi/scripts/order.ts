/** Sums whose value tells the order of their terms. */
import type { Communicator } from '../../../src/dist/index.ts';
import { ops } from '../../../src/tensor/index.ts';
import { tensorOf, valuesOf } from '../rankSupport.ts';

export function run({ all }: Communicator): Record<string, number[]> {
  const { rank, size } = all;
  // 1e8 + 1 is 1e8 in fp32: in rank order the sum is 0, in most others 1.
  const term = [1e8, 1, -1e8][rank]!;
  const wide = Array.from({ length: 7 }, () => term);
  const reduced = tensorOf(wide, 'float32');
  all.allReduce(reduced).wait();
  const part = ops.empty([2]);
  all.reduceScatter(part, tensorOf(Array(2 * size).fill(term), 'float32')).wait();
  const rooted = tensorOf(wide, 'float32');
  all.reduce(rooted, 1).wait();
  // In bf16 256 + 1 is 256; added up in fp32 and rounded once the sum is 258.
  const half = tensorOf([[256, 1, 1][rank]!], 'bfloat16');
  all.allReduce(half).wait();
  // In place: the part is where the input's own part is.
  const own = tensorOf(
    Array.from({ length: 2 * size }, (_, i) => i * (rank + 1)),
    'float64',
  );
  const view = ops.slice(own, 0, 2 * rank, 2 * rank + 2);
  all.reduceScatter(view, own).wait();
  return {
    allReduce: valuesOf(reduced),
    reduceScatter: valuesOf(part),
    reduce: rank === 1 ? valuesOf(rooted) : [],
    half: valuesOf(half),
    inPlace: valuesOf(view),
  };
}
