/** Copies beside compute on a GPU: each waits for its own moment, however far ahead the host has submitted. */
import { describe, expect, it } from 'vitest';
import type { ArenaId, CopyTicket, ExecutorId, TicketId } from '../../src/native/binding.ts';
import { native } from '../../src/native/load.ts';
import { adopt, dtypeCode, noGrad, ops, scope } from '../../src/tensor/index.ts';
import { copy, id } from '../native/executorSupport.ts';
import { mib, readArena } from '../native/swapSupport.ts';
import { device, sameBytes } from './kernelsSupport.ts';

const megabytes = 24;

interface Stage {
  readonly executor: ExecutorId;
  readonly source: ArenaId;
  readonly target: ArenaId;
  readonly leaving: (number: number, changes: Partial<CopyTicket>) => CopyTicket;
}

function withCopies(body: (stage: Stage) => void): void {
  const source = native().arenaCreate('device', megabytes * mib, 0, false);
  const target = native().arenaCreate('host', megabytes * mib, 0, false);
  const executor = native().executorCreate({ device: 0, updateThreads: 1, scaleCells: 1, timelineCapacity: 1000 });
  const leaving = (number: number, changes: Partial<CopyTicket>) => {
    const at = (number - 1) * mib;
    return { ...copy(number, source, at, at, { lane: 'toHost', ...changes }), target };
  };
  try {
    body({ executor, source, target, leaving });
  } finally {
    native().executorDestroy(executor);
    native().arenaDestroy(source);
    native().arenaDestroy(target);
  }
}

/** Puts work of about a hundred times as long as all copies on the compute stream. */
function computeForLong(): void {
  noGrad(() =>
    scope(() => {
      let product = ops.zeros([8192, 8192], { dtype: 'float32', device: device as string });
      for (let i = 0; i < 20; i++) product = ops.matmul(product, product);
    }),
  );
}

describe.skipIf(typeof device !== 'string')('copies beside compute on a GPU', () => {
  const finishedMoments = (executor: ExecutorId): TicketId[] =>
    native()
      .timeline(executor)
      .spans.filter(({ lane }) => lane === 'compute')
      .map(({ ticket }) => ticket);

  /** Reaches a moment with work behind it. */
  const reach = (executor: ExecutorId, moment: number): void => {
    native().beginMoment(executor);
    computeForLong();
    native().reachMoment(executor, moment);
  };

  it('waits for nothing when its moment is over, whatever is submitted behind it', () => {
    withCopies(({ executor, leaving }) => {
      computeForLong();
      native().synchronize(device as 'cuda:0');
      // Some are on their stream while moment 0 runs, the others have their turn when it is over.
      const count = megabytes / 2;
      native().submit(
        executor,
        Array.from({ length: count }, (_, i) => leaving(i + 1, { afterMoment: 0 })),
      );
      reach(executor, 0);
      reach(executor, 1);
      native().wait(executor, [id(count)], 'test');
      expect(finishedMoments(executor)).not.toContain(1);
      // And those that are submitted now.
      native().submit(executor, [leaving(count + 1, { afterMoment: 0 }), leaving(count + 2, { afterMoment: 0 })]);
      native().wait(executor, [id(count + 2)], 'test');
      expect(finishedMoments(executor)).not.toContain(1);
      native().submit(executor, [leaving(count + 3, { afterMoment: 1 })]);
      native().wait(executor, [id(count + 3)], 'test');
      native().synchronize(device as 'cuda:0');
    });
  });

  it('waits for what was submitted until then when its moment was reached again', () => {
    withCopies(({ executor, source, target, leaving }) => {
      const there = adopt(native().arenaTensor(source, 0, [mib / 4], dtypeCode('float32')));
      native().arenaFill(source, 0, mib, 0);
      native().reachMoment(executor, 0);
      native().synchronize(device as 'cuda:0');
      computeForLong();
      scope(() => ops.addInPlace(there, ops.full([mib / 4], 7, { dtype: 'float32', device: device as string })));
      native().reachMoment(executor, 0);
      native().submit(executor, [leaving(1, { afterMoment: 0 })]);
      native().wait(executor, [id(1)], 'test');
      const expected = new Uint8Array(new Float32Array(mib / 4).fill(7).buffer);
      expect(sameBytes(readArena(target, 0, mib), expected)).toBe(true);
      there.dispose();
    });
  });
});
