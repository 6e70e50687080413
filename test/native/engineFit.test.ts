/** Models that do not fit, and examples that must run. */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { isTierraError, type TierraError } from '../../src/core/errors.ts';
import { initialize, launch } from '../../src/engine/index.ts';
import { buildModel } from '../../src/models/index.ts';
import { native } from '../../src/native/load.ts';
import { Linear } from '../../src/nn/index.ts';
import { compiled } from '../compiled.ts';
import { settings, startMlp } from './engineSupport.ts';

afterEach(() => native().setMemoryCap('cpu', null));

const failure = (body: () => unknown): TierraError => {
  try {
    body();
  } catch (error) {
    if (isTierraError(error)) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
};

describe('a model that does not fit', () => {
  it('in this machine is refused before anything is allocated', () => {
    const { model } = buildModel({ preset: 'llama-3-70b', overrides: { num_hidden_layers: 800 } });
    const allocated = native().memoryStats('cpu').allocatedBytes;
    const error = failure(() => initialize({ context: launch(settings()), model: model as never }));
    expect(error.code).toBe('E_OUT_OF_MEMORY');
    const { need, have, weights, gradients, states } = error.details as Record<string, number>;
    expect(weights).toBe(model.parameterCount * 4);
    expect(need).toBe(weights! + gradients! + states!);
    expect(states).toBe(2 * weights!);
    expect(need).toBeGreaterThan(have!);
    expect(error.message).toMatch(/parameters in float32 on cpu need .* TiB .* are free/);
    expect(error.hint).toContain('memory.nvme.path');
    expect(native().memoryStats('cpu').allocatedBytes).toBe(allocated);
  });

  it('under a cap names the need and leaves nothing behind', () => {
    const model = new Linear(600, 600);
    const context = launch(settings());
    const live = native().liveTensors();
    native().setMemoryCap('cpu', native().memoryStats('cpu').allocatedBytes + 1_000_000);
    const error = failure(() => initialize({ context, model }));
    expect(error).toMatchObject({ code: 'E_OUT_OF_MEMORY', details: { need: 4 * 4 * 600 * 601 } });
    expect(native().liveTensors()).toBe(live);
    native().setMemoryCap('cpu', null);
    initialize({ context, model }).dispose();
  });

  it('counts weights only where nothing is trained', () => {
    const { engine } = startMlp({ train: { steps: null, epochs: 1 } }, { forTraining: false });
    expect(engine.store.stateEntries().every(({ kind }) => kind === 'weight')).toBe(true);
    engine.dispose();
  });
});

it('the loop of one’s own in examples/01-first-run learns', () => {
  const root = path.resolve(import.meta.dirname, '../..');
  const { status, stdout, stderr } = spawnSync(process.execPath, [compiled('examples/01-first-run/own-loop.ts')], {
    cwd: root,
    encoding: 'utf8',
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const losses = Array.from(stdout.matchAll(/loss (\S+)/g), ([, loss]) => Number(loss));
  expect(losses[0]).toBeGreaterThan(0.1);
  expect(losses.at(-1)).toBeLessThan(0.01);
});
