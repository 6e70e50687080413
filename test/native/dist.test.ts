/** A process by itself, and what is refused before anybody is met. Several processes: `test/multi/groups.test.ts`. */
import { describe, expect, it } from 'vitest';
import type { TierraError } from '../../src/core/errors.ts';
import { alone, connect, Linear2D, lineOf, makeMesh, openStore, squareOf, withPlace } from '../../src/dist/index.ts';
import { native, nativeIsBuilt } from '../../src/native/load.ts';
import { ops } from '../../src/tensor/index.ts';

function thrown(body: () => unknown): TierraError {
  try {
    body();
  } catch (error) {
    return error as TierraError;
  }
  throw new Error('nothing was thrown');
}

describe.skipIf(!nativeIsBuilt())('a process by itself', () => {
  it('has groups of one, which copy and count nothing, and leaves none behind', () => {
    const before = native().liveGroups();
    const communicator = connect(alone, { device: 'cpu' });
    const { all } = communicator;
    const tensor = ops.fromArray([1, 2, 3]);
    const into = ops.empty([3]);
    all.allReduce(tensor).wait();
    all.allGather(into, tensor).wait();
    expect(ops.toArray(into)).toEqual([1, 2, 3]);
    all.reduceScatter(into, ops.fromArray([4, 5, 6])).wait();
    expect(ops.toArray(into)).toEqual([4, 5, 6]);
    all.allToAll(into, tensor).wait();
    expect(ops.toArray(into)).toEqual([1, 2, 3]);
    for (const work of [all.broadcast(tensor, 0), all.reduce(tensor, 0)]) work.wait();
    all.barrier();
    const { allReduce, allGather } = all.counters();
    expect([allReduce.calls, allReduce.elementsReceived, allGather.elementsReceived]).toEqual([1, 0, 0]);
    expect(communicator.exchange({ a: 1 })).toEqual([{ a: 1 }]);
    expect(communicator.store.add('votes', 2)).toBe(2);
    const mesh = makeMesh(communicator, {});
    expect(mesh.group('dp')).toBe(mesh.group('dp'));
    communicator.dispose();
    communicator.dispose();
    expect(native().liveGroups()).toBe(before);
    expect(thrown(() => all.allReduce(tensor)).message).toBe('the group "all" was disposed');
  });

  it('says what this build cannot do', () => {
    const pair = { ...alone, size: 2, localSize: 2, rendezvous: { host: '127.0.0.1', port: 1, external: true } };
    if (native().buildInfo.nccl) return;
    expect(thrown(() => connect(pair, { device: 'cuda:0' }))).toMatchObject({
      code: 'E_UNSUPPORTED',
      message: '2 ranks on cuda:0 need nccl, which this build lacks',
    });
  });

  it('gives up on a store that nobody serves, and on a key that nobody sets', () => {
    const error = thrown(() => openStore({ host: '127.0.0.1', port: 1, server: false, timeoutSeconds: 1 }));
    expect(error.code).toBe('E_COLLECTIVE');
    expect(error.message).toMatch(/^joining the store at 127\.0\.0\.1:1: /);
    const store = openStore({ host: '127.0.0.1', port: 0, server: true, timeoutSeconds: 1 });
    expect(store.port).toBeGreaterThan(0);
    const other = openStore({ host: '127.0.0.1', port: store.port, server: false, timeoutSeconds: 5 });
    other.set('key', 'välue');
    expect([store.get('key'), store.has('none'), other.add('n', 3), store.add('n', 4)]).toEqual(['välue', false, 3, 7]);
    expect(thrown(() => store.get('none', 0.2))).toMatchObject({
      code: 'E_COLLECTIVE',
      message: expect.stringMatching(/^waiting for none in the store: /),
    });
    other.dispose();
    store.dispose();
    expect(thrown(() => store.has('key')).code).toBe('E_STATE');
  });

  it('says where a layer of a mode can stand', () => {
    expect(thrown(() => new Linear2D(4, 4)).message).toBe('Linear2D needs a place of kind 2d or 2.5d, there is none');
    const communicator = connect(alone, { device: 'cpu' });
    const mesh = makeMesh(communicator, { tp: 1 });
    expect(thrown(() => withPlace(lineOf(mesh), () => new Linear2D(4, 4))).message).toContain('this one is 1d');
    const layer = withPlace(squareOf(mesh), () => new Linear2D(4, 6));
    const x = { tensor: ops.zeros([2, 5]), layout: { shape: [2, 5], cuts: [['column'], ['row']] } };
    expect(thrown(() => layer.call(x))).toMatchObject({
      code: 'E_ARGUMENT',
      message: 'Linear2D takes [2 over column, 4 over row], got [2 over column, 5 over row]',
    });
    communicator.dispose();
  });
});
