/** Every collective of the interface, over every element type; returns what arrived and what was counted. */
import type { CollectiveName, Communicator } from '../../../src/dist/index.ts';
import { type Dtype, ops } from '../../../src/tensor/index.ts';
import { tensorOf, thrown, valuesOf } from '../rankSupport.ts';

const dtypes: readonly Dtype[] = ['float32', 'float64', 'bfloat16', 'float16', 'int64'];

export interface Arrived {
  readonly values: Record<string, Record<string, number[]>>;
  readonly counts: Record<string, Record<string, [calls: number, elements: number, bytes: number]>>;
  readonly refusals: Record<string, string>;
}

export function run({ all }: Communicator): Arrived {
  const { rank, size } = all;
  const values: Arrived['values'] = {};
  const counts: Arrived['counts'] = {};
  const own = [1, 2, 3, 4, 5].map((value) => value + 10 * rank);
  for (const dtype of dtypes) {
    all.resetCounters();
    const got: Record<string, number[]> = {};
    for (const reduction of ['sum', 'max', 'min'] as const) {
      const tensor = tensorOf(own, dtype);
      all.allReduce(tensor, reduction).wait();
      got[`allReduce ${reduction}`] = valuesOf(tensor);
    }
    const gathered = ops.empty([size, 5], { dtype });
    all.allGather(gathered, tensorOf(own, dtype)).wait();
    got.allGather = valuesOf(gathered);

    const parts = tensorOf(
      Array.from({ length: 2 * size }, (_, i) => i + 10 * rank),
      dtype,
    );
    const part = ops.empty([2], { dtype });
    all.reduceScatter(part, parts).wait();
    got.reduceScatter = valuesOf(part);

    for (let root = 0; root < size; root++) {
      const tensor = tensorOf(own, dtype);
      all.broadcast(tensor, root).wait();
      got[`broadcast ${root}`] = valuesOf(tensor);
      const summed = tensorOf(own, dtype);
      all.reduce(summed, root).wait();
      if (rank === root) got[`reduce ${root}`] = valuesOf(summed);
    }

    const swapped = ops.empty([2 * size], { dtype });
    all.allToAll(swapped, parts).wait();
    got.allToAll = valuesOf(swapped);

    // Rank r sends p rows of two to position p: it receives r rows from everybody.
    const fromSplits = Array.from({ length: size }, (_, p) => p);
    const sent = fromSplits.flatMap((p) => Array.from({ length: 2 * p }, () => 10 * rank + p));
    const rows = ops.empty([rank * size, 2], { dtype });
    all.allToAll(rows, tensorOf(sent, dtype, [sent.length / 2, 2]), Array(size).fill(rank), fromSplits).wait();
    got.uneven = valuesOf(rows);

    // Around the ring with two tags at once, received in the other order than sent.
    const next = (rank + 1) % size;
    const before = (rank + size - 1) % size;
    const [first, second] = [ops.empty([5], { dtype }), ops.empty([1], { dtype })];
    const works = [
      all.receive(second, before, 2),
      all.receive(first, before, 1),
      all.send(tensorOf(own, dtype), next, 1),
      all.send(tensorOf([rank], dtype), next, 2),
    ];
    for (const work of works) work.wait();
    got.ring = [...valuesOf(first), ...valuesOf(second)];
    all.barrier();
    values[dtype] = got;
    counts[dtype] = Object.fromEntries(
      Object.entries(all.counters()).map(([name, counter]) => [
        name as CollectiveName,
        [counter.calls, counter.elementsReceived, counter.bytesReceived],
      ]),
    );
  }
  // Nothing to send: no message, no failure.
  const nothing = ops.empty([0]);
  all.allReduce(nothing).wait();
  all.allGather(ops.empty([0]), nothing).wait();
  all.reduceScatter(ops.empty([0]), nothing).wait();
  all.allToAll(ops.empty([0, 3]), ops.empty([0, 3])).wait();
  all.broadcast(nothing, 0).wait();

  const wide = ops.empty([4, 6]);
  const refusals = {
    'not contiguous': thrown(() => all.allReduce(ops.transpose(wide, 0, 1))).message,
    sizes: thrown(() => all.allGather(ops.empty([3]), ops.empty([5]))).message,
    types: thrown(() => all.reduceScatter(ops.empty([1]), ops.empty([size], { dtype: 'float64' }))).message,
    root: thrown(() => all.broadcast(wide, size)).message,
    splits: thrown(() => all.allToAll(wide, wide, [1, 1], [2, 2])).message,
    itself: thrown(() => all.send(wide, rank)).message,
  };
  return { values, counts, refusals };
}
