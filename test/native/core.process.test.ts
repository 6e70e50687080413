import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { addonPath, native } from '../../src/native/load.ts';
import { call, floats, release, valuesOf } from './coreSupport.ts';

/** What a worker does with an addon of its own: allocates, differentiates, fails, leaves handles and modes behind. */
const body = `
  const { parentPort, workerData } = require('node:worker_threads');
  const n = require(workerData);
  const op = (name, overload = '') => n.findOperator(name, overload);
  const live = n.liveTensors();
  const x = n.wrapBytes(new Uint8Array(Float32Array.of(1, 2, 3).buffer), [3], 6);
  n.setRequiresGrad(x, true);
  const y = n.call(op('aten::sum'), n.call(op('aten::mul', 'Tensor'), x, x));
  const [g] = n.grad([y], [x], [null], false);
  const out = new Float32Array(3);
  n.readBytes(g, new Uint8Array(out.buffer));
  let code = 'none';
  try { n.release(1) } catch (error) { code = error.code }
  n.pushInferenceMode();
  parentPort.postMessage({ live, gradient: [...out], code });
`;

function runWorker(): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(body, { eval: true, workerData: addonPath() });
    let message: unknown;
    worker.on('message', (value) => {
      message = value;
    });
    worker.on('error', reject);
    worker.on('exit', (status) => (status === 0 ? resolve(message) : reject(new Error(`worker exited ${status}`))));
  });
}

describe('several environments', () => {
  it('gives each worker its own handles, and survives their end', async () => {
    const mine = floats([1, 2]);
    const live = native().liveTensors();
    const replies = await Promise.all([runWorker(), runWorker(), runWorker()]);
    for (const reply of replies) expect(reply).toEqual({ live: 0, gradient: [2, 4, 6], code: 'E_STATE' });
    expect(native().liveTensors()).toBe(live);
    expect(valuesOf(call('aten::add.Tensor', mine, mine))).toEqual([2, 4]);
    release(mine);
  });

  it('refuses to be opened twice on one thread', () => {
    native();
    expect(() => process.dlopen({ exports: {} } as NodeJS.Module, addonPath())).toThrow(/already open/);
    expect(valuesOf(floats([1]))).toEqual([1]);
  });
});
