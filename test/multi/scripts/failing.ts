/** Ways in which ranks stop coming along; returns what the others see. */
import type { Communicator } from '../../../src/dist/index.ts';
import { ops } from '../../../src/tensor/index.ts';
import { mark, thrown } from '../rankSupport.ts';

const forever = (): never => {
  for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000);
};

export function run(communicator: Communicator, how: unknown): unknown {
  const { all, world } = communicator;
  const tensor = ops.ones([1000]);
  all.allReduce(tensor).wait();
  switch (how) {
    case 'killed':
      mark('ready');
      if (world.rank === 1) forever();
      return thrown(() => all.allReduce(tensor).wait());
    case 'killed while a message is expected':
      mark('ready');
      if (world.rank === 1) forever();
      return thrown(() => all.receive(tensor, 1, 3).wait());
    case 'hangs':
      if (world.rank === 1) {
        // As long as the others need to give up, then it goes on and meets nobody.
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 8000);
      }
      return thrown(() => all.allReduce(tensor).wait());
    case 'other groups':
      return thrown(() => communicator.group('pair', world.rank === 1 ? [0, 1] : [1, 0]));
    case 'not waited for':
      if (world.rank === 0) all.allReduce(tensor);
      return 'left';
    case 'ends with a failure':
      if (world.rank === 1) throw new Error('a defect of rank 1');
      return thrown(() => all.allReduce(tensor).wait());
    default:
      throw new Error(`unknown ${how}`);
  }
}
