import { describe, expect, it } from 'vitest';
import type { Ticket, UpdateGroup, UpdateTicket } from '../../src/native/binding.ts';
import { native, nativeIsBuilt } from '../../src/native/load.ts';
import { copy, disk, id, withExecutor } from './executorSupport.ts';
import { mib, pattern, readArena, thrown } from './swapSupport.ts';

const float32 = 6;

describe.skipIf(!nativeIsBuilt())('executor', () => {
  it('starts a ticket after its moment, its cell and its tickets, and says what it waits for', () => {
    withExecutor({}, ({ arena, executor }) => {
      native().arenaWrite(arena, 0, pattern(mib, 1));
      native().submit(executor, [
        copy(1, arena, 0, mib, { afterMoment: 5 }),
        copy(2, arena, mib, 2 * mib, { after: [id(1)], lane: 'toHost', cause: 'second' }),
        copy(3, arena, 2 * mib, 3 * mib, { after: [id(2)], afterCell: 2 }),
      ]);
      native().reachMoment(executor, 4);
      expect(native().pending(executor)).toEqual([
        { id: 1, lane: 'toDevice', state: 'waiting', cause: 'test', chunk: 0, tickets: [], moment: 5, cell: -1 },
        { id: 2, lane: 'toHost', state: 'waiting', cause: 'second', chunk: 0, tickets: [1], moment: -1, cell: -1 },
        { id: 3, lane: 'toDevice', state: 'waiting', cause: 'test', chunk: 0, tickets: [2], moment: -1, cell: 2 },
      ]);
      expect(readArena(arena, mib, 1)).toEqual(new Uint8Array(1));
      native().reachMoment(executor, 6);
      native().wait(executor, [id(2)], 'second');
      expect(Buffer.compare(readArena(arena, 2 * mib, mib), pattern(mib, 1))).toBe(0);
      expect(
        native()
          .pending(executor)
          .map((ticket) => ticket.id),
      ).toEqual([3]);
      native().setScale(executor, 2, 1);
      native().drain(executor);
      expect(Buffer.compare(readArena(arena, 3 * mib, mib), pattern(mib, 1))).toBe(0);
      expect(native().pending(executor)).toEqual([]);
      // What is long done, and a moment that was passed, hold nothing up.
      native().submit(executor, [copy(9, arena, 0, 4 * mib, { after: [id(1), id(3)], afterMoment: 5, afterCell: 2 })]);
      native().wait(executor, [id(9), id(1)], 'late');
    });
  });

  it('refuses to wait for what only the caller could bring about', () => {
    withExecutor({}, ({ arena, executor }) => {
      native().submit(executor, [
        copy(1, arena, 0, mib, { afterMoment: 3 }),
        copy(2, arena, 0, mib, { after: [id(1)] }),
        copy(3, arena, 0, mib, { afterCell: 1 }),
      ]);
      for (const [ticket, text] of [
        [2, 'needs moment 3'],
        [3, 'needs scale cell 1'],
      ] as const) {
        const error = thrown(() => native().wait(executor, [id(ticket)], 'deadlock'));
        expect(error).toMatchObject({ code: 'E_STATE', message: expect.stringContaining(text) });
      }
      expect(thrown(() => native().drain(executor))).toMatchObject({ code: 'E_STATE' });
      expect(thrown(() => native().wait(executor, [id(4)], 'never'))).toMatchObject({ code: 'E_ARGUMENT' });
    });
  });

  it('a failure cancels what waits for it, lets the rest go on, and is thrown to who waits', () => {
    withExecutor({}, ({ arena, swap, executor }) => {
      native().arenaWrite(arena, 0, pattern(mib, 7));
      native().submit(executor, [
        disk(1, 'read', swap, arena, { swapOffset: 4 * mib, arenaOffset: mib, chunk: 42, step: 6, afterMoment: 0 }),
        copy(2, arena, mib, 2 * mib, { after: [id(1)] }),
        copy(3, arena, 2 * mib, 3 * mib, { after: [id(2)], afterMoment: 9 }),
        copy(4, arena, 0, 4 * mib),
      ]);
      native().reachMoment(executor, 0);
      native().wait(executor, [id(4)], 'free');
      const expected = { code: 'E_CORRUPT', details: { chunk: 42, step: 6 } };
      expect(thrown(() => native().wait(executor, [id(3)], 'chain'))).toMatchObject(expected);
      expect(thrown(() => native().drain(executor))).toMatchObject(expected);
      expect(native().failed(executor)).toMatchObject(expected);
      expect(readArena(arena, 2 * mib, 4)).toEqual(new Uint8Array(4));
      expect(Buffer.compare(readArena(arena, 4 * mib, mib), pattern(mib, 7))).toBe(0);
      native().submit(executor, [copy(5, arena, 0, mib, { after: [id(3)] }), copy(6, arena, 0, 5 * mib)]);
      expect(thrown(() => native().wait(executor, [id(5)], 'late'))).toMatchObject(expected);
      native().wait(executor, [id(6)], 'free');
      expect(native().pending(executor)).toEqual([]);
      native().reachMoment(executor, 9);
    });
  });

  it('takes all tickets of a submission or none', () => {
    withExecutor({}, ({ arena, swap, executor }) => {
      const good = copy(1, arena, 0, mib);
      const bad: Ticket[] = [
        copy(2, arena, 0, 16 * mib),
        copy(2, arena, 15.5 * mib, 0),
        copy(2, arena, 0, 0, { after: [id(2)] }),
        copy(2, arena, 0, 0, { after: [id(3)] }),
        copy(1, arena, 0, 0),
        copy(2, arena, 0, 0, { afterCell: 4 }),
        disk(2, 'read', swap, arena, { swapOffset: 32 * mib }),
        disk(2, 'write', swap, arena, { arenaOffset: 100 }),
      ];
      for (const ticket of bad) {
        expect(thrown(() => native().submit(executor, [good, ticket]))).toMatchObject({ code: 'E_ARGUMENT' });
        expect(native().pending(executor)).toEqual([]);
      }
      native().submit(executor, [good]);
      native().drain(executor);
      expect(thrown(() => native().submit(executor, [good]))).toMatchObject({ code: 'E_ARGUMENT' });
    });
  });

  it('is destroyed with tickets in flight and waiting; arena and swap are free then', () => {
    for (let round = 0; round < 10; round++) {
      withExecutor({}, ({ arena, swap, executor }) => {
        const tickets: Ticket[] = [];
        for (let i = 0; i < 30; i++) {
          const at = { swapOffset: (i % 7) * 4 * mib, bytes: 3 * mib, chunk: i, afterMoment: i > 20 ? 99 : -1 };
          tickets.push(disk(i + 1, 'write', swap, arena, at));
        }
        native().submit(executor, tickets);
        expect(thrown(() => native().arenaDestroy(arena))).toMatchObject({ code: 'E_STATE' });
        expect(thrown(() => native().swapClose(swap))).toMatchObject({ code: 'E_STATE' });
      });
    }
  });

  it('enters every ticket and wait in the timeline, on one clock, with its bytes', () => {
    withExecutor({}, ({ arena, swap, executor }) => {
      const begin = native().nowUs();
      native().submit(executor, [
        disk(1, 'write', swap, arena, { bytes: 4 * mib, chunk: 3, cause: 'evict' }),
        {
          id: id(2),
          lane: 'sync',
          swap,
          after: [id(1)],
          afterMoment: -1,
          afterCell: -1,
          cause: 'sync',
          chunk: 3,
          step: 0,
        },
        disk(3, 'read', swap, arena, { bytes: 4 * mib, chunk: 3, cause: 'fetch', after: [id(2)] }),
        copy(4, arena, 0, 8 * mib, { bytes: 4 * mib, cause: 'to device', after: [id(3)], chunk: 3 }),
      ]);
      expect(native().wait(executor, [id(4)], 'unit 1')).toBeGreaterThan(0);
      const { spans, busyUs, dropped } = native().timeline(executor);
      expect(spans.map((span) => [span.lane, span.name, span.bytes])).toEqual([
        ['write', 'evict', 4 * mib],
        ['write', 'sync', 0],
        ['read', 'fetch', 4 * mib],
        ['toDevice', 'to device', 4 * mib],
        ['wait', 'unit 1', 0],
      ]);
      let last = begin;
      for (const span of spans.filter((one) => one.lane !== 'wait')) {
        expect(span).toMatchObject({ chunk: 3 });
        expect(span.startUs).toBeGreaterThanOrEqual(last);
        last = span.startUs + span.durationUs;
      }
      expect(last).toBeLessThanOrEqual(native().nowUs());
      expect(dropped).toBe(0);
      expect(busyUs.write).toBeCloseTo(spans[0]!.durationUs + spans[1]!.durationUs, 0);
      expect(busyUs.update).toBe(0);
      expect(native().timeline(executor).spans).toEqual([]);
    });
  });

  it('allocates nothing from the system while it runs', () => {
    withExecutor({}, ({ arena, swap, executor }) => {
      const before = native().allocationCount();
      for (let step = 0; step < 20; step++) {
        const first = step * 3 + 1;
        native().submit(executor, [
          disk(first, 'write', swap, arena, { step }),
          disk(first + 1, 'read', swap, arena, { step, after: [id(first)] }),
          copy(first + 2, arena, 0, 4 * mib, { after: [id(first + 1)] }),
        ]);
        native().drain(executor);
      }
      expect(native().allocationCount()).toBe(before);
    });
  });
});

describe.skipIf(!nativeIsBuilt())('executor updates', () => {
  const count = 50_000;
  const group: UpdateGroup = {
    lr: 0.01,
    beta1: 0.9,
    beta2: 0.99,
    eps: 1e-8,
    weightDecay: 0.1,
    biasCorrection1: 0.1,
    biasCorrection2: 0.01,
    momentum: 0,
    nesterov: false,
  };
  const groups = [group, { ...group, lr: 0.1, weightDecay: 0 }];
  const plane = count * 4;
  const stateAt = mib;
  const stateOutAt = 4 * mib;
  const parameterAt = 8 * mib;
  const values = (seed: number, offset = 0) =>
    Float32Array.from({ length: count }, (_, i) => Math.sin(i * seed) + offset);
  const bytesOf = (array: Float32Array) => new Uint8Array(array.buffer);
  const floatsAt = (arena: Parameters<typeof readArena>[0], offset: number) =>
    new Float32Array(readArena(arena, offset, plane).buffer);

  const gradient = values(0.3);
  const state = [values(0.7), values(0.11), values(0.13, 2)];
  const ticket = (arena: UpdateTicket['state']['arena'], changes: Partial<UpdateTicket> = {}): UpdateTicket => ({
    id: id(1),
    lane: 'update',
    after: [],
    afterMoment: -1,
    afterCell: -1,
    cause: 'adam',
    chunk: 1,
    step: 1,
    rule: 'adamw',
    count,
    gradients: [{ arena, offset: 0, dtype: float32 }],
    state: { arena, offset: stateAt, dtype: float32 },
    planes: null,
    stateOut: null,
    parameterOut: { arena, offset: parameterAt, dtype: float32 },
    segments: [
      { begin: 0, count: 17_001, group: 0, firstScale: 0 },
      { begin: 20_000, count: 30_000, group: 1, firstScale: 0 },
    ],
    groups,
    scaleCell: 3,
    ...changes,
  });

  /** The same update through `optimizerUpdateBuffers`, segment by segment. */
  function reference(scale: number): Float32Array[] {
    const [master, m, v] = state.map((one) => one.slice());
    const parameter = new Float32Array(count);
    for (const segment of ticket(0 as never).segments) {
      const part = (array: Float32Array) => new Uint8Array(array.buffer, segment.begin * 4, segment.count * 4);
      native().optimizerUpdateBuffers('scalar', 'adamw', groups[segment.group]!, scale, {
        gradient: part(gradient),
        gradientDtype: float32,
        stateDtype: float32,
        master: part(master!),
        m: part(m!),
        v: part(v!),
        masterOut: part(master!),
        mOut: part(m!),
        vOut: part(v!),
        parameterOut: part(parameter),
        parameterDtype: float32,
      });
    }
    return [master!, m!, v!, parameter];
  }

  it.each(['in place', 'out of place'])(
    '%s: the bits of the scalar reference, with the scale set while it waited',
    (how) => {
      withExecutor({}, ({ arena, executor }) => {
        native().arenaWrite(arena, 0, bytesOf(gradient));
        state.forEach((one, i) => {
          native().arenaWrite(arena, stateAt + i * plane, bytesOf(one));
        });
        const inPlace = how === 'in place';
        native().setScale(executor, 3, 100);
        native().clearScale(executor, 3);
        native().submit(executor, [ticket(arena, { stateOut: inPlace ? null : { arena, offset: stateOutAt } })]);
        expect(native().pending(executor)).toMatchObject([{ state: 'waiting', cell: 3 }]);
        expect(thrown(() => native().clearScale(executor, 3))).toMatchObject({ code: 'E_STATE' });
        native().setScale(executor, 3, 0.37);
        native().drain(executor);
        const expected = reference(0.37);
        const out = inPlace ? stateAt : stateOutAt;
        for (let i = 0; i < 3; i++) expect(floatsAt(arena, out + i * plane)).toEqual(expected[i]);
        expect(floatsAt(arena, parameterAt)).toEqual(expected[3]);
        for (let i = 0; i < 3 && !inPlace; i++) expect(floatsAt(arena, stateAt + i * plane)).toEqual(state[i]);
      });
    },
  );

  it.each([1, 2])('a preview makes the new parameters and leaves the state as it is, %i gradients', (uses) => {
    withExecutor({}, ({ arena, executor }) => {
      native().arenaWrite(arena, 0, bytesOf(gradient));
      state.forEach((one, i) => {
        native().arenaWrite(arena, stateAt + i * plane, bytesOf(one));
      });
      const place = { arena, offset: 0, dtype: float32 };
      native().setScale(executor, 3, 0.37);
      const gradients = Array.from({ length: uses }, () => place);
      native().submit(executor, [ticket(arena, { gradients, preview: true })]);
      native().drain(executor);
      for (let i = 0; i < 3; i++) expect(floatsAt(arena, stateAt + i * plane)).toEqual(state[i]);
      // Twice the gradient is the gradient at twice the scale, to the bit.
      const expected = reference(0.37 * uses);
      expect(floatsAt(arena, parameterAt)).toEqual(expected[3]);
      const moved = native()
        .timeline(executor)
        .spans.filter(({ lane }) => lane === 'update');
      expect(moved.map(({ bytes }) => bytes)).toEqual([count * 4 * (uses + 3 + 1)]);
      // The state that follows is that of an update at once, and writes no parameter.
      native().arenaFill(arena, parameterAt, plane, 0);
      native().submit(executor, [ticket(arena, { id: id(2), gradients, parameterOut: null })]);
      native().drain(executor);
      for (let i = 0; i < 3; i++) expect(floatsAt(arena, stateAt + i * plane)).toEqual(expected[i]);
      expect(floatsAt(arena, parameterAt)).toEqual(new Float32Array(count));
    });
  });

  it('refuses what would write elsewhere', () => {
    withExecutor({}, ({ arena, executor }) => {
      const bad: Partial<UpdateTicket>[] = [
        { count: 2 ** 50 },
        { state: { arena, offset: 16 * mib - 2 * plane, dtype: float32 } },
        { state: { arena, offset: stateAt + 2, dtype: float32 } },
        { stateOut: { arena, offset: stateAt + plane } },
        { segments: [{ begin: 0, count: count + 1, group: 0, firstScale: 0 }] },
        { segments: [{ begin: 0, count: 10, group: 2, firstScale: 0 }] },
        {
          segments: [
            { begin: 0, count: 10, group: 0, firstScale: 0 },
            { begin: 9, count: 10, group: 0, firstScale: 0 },
          ],
        },
        { scaleCell: 4 },
        { preview: true, parameterOut: null },
      ];
      for (const changes of bad) {
        expect(thrown(() => native().submit(executor, [ticket(arena, changes)]))).toMatchObject({ code: 'E_ARGUMENT' });
      }
    });
  });
});
