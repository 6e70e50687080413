/** One step: its order, its errors, what it frees, what it computes. */
import { afterEach, describe, expect, it } from 'vitest';
import { isTierraError, type TierraError } from '../../src/core/errors.ts';
import { initialize, launch } from '../../src/engine/index.ts';
import { native } from '../../src/native/load.ts';
import { Linear, Module, Parameter } from '../../src/nn/index.ts';
import { meanSquaredError } from '../../src/nn/losses.ts';
import { ops, scope, type Tensor } from '../../src/tensor/index.ts';
import { bytesOf, problem, settings, startGpt, startMlp, tokens, weightsOf } from './engineSupport.ts';

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

describe('misuse', () => {
  it('says what is missing and leaves the engine usable', () => {
    const { engine } = startMlp();
    const { input, label } = problem(4, 1);
    const step = (): number => {
      engine.zeroGrad();
      const loss = engine.criterion(engine.forward(input), label);
      engine.backward(loss);
      return engine.step()!.step;
    };

    const early = failure(() => engine.step());
    expect(early).toMatchObject({ code: 'E_STATE', message: expect.stringContaining('backward has not been called') });
    expect(early.hint).toContain('zeroGrad');

    engine.zeroGrad();
    const vector = failure(() => engine.backward(engine.forward(input)));
    expect(vector).toMatchObject({ code: 'E_ARGUMENT', message: expect.stringContaining('[4, 3]'.replace(' ', '')) });
    engine.zeroGrad();
    const foreign = ops.fromArray([1], []);
    expect(failure(() => engine.backward(foreign))).toMatchObject({
      code: 'E_ARGUMENT',
      message: expect.stringContaining('does not depend on any trainable parameter'),
    });

    engine.zeroGrad();
    engine.backward(engine.criterion(engine.forward(input), label));
    const often = failure(() => engine.forward(input));
    expect(often).toMatchObject({ code: 'E_STATE', message: expect.stringContaining('its one micro-batch') });
    expect(often.hint).toContain('train.accumulate');

    engine.eval();
    expect(failure(() => engine.backward(foreign))).toMatchObject({ code: 'E_STATE' });
    engine.train();

    expect(step()).toBe(1);
    expect(step()).toBe(2);
    engine.dispose();
  });

  it('asks for a criterion where none was given', () => {
    const context = launch(settings());
    using engine = initialize({ context, model: new Linear(6, 3) });
    const { input, label } = problem(2, 1);
    const error = failure(() => engine.criterion(engine.forward(input), label));
    expect(error).toMatchObject({ code: 'E_STATE', message: expect.stringContaining('no criterion') });
    expect(error.hint).toContain('initialize');
  });

  it('refuses parameters outside every unit, and an unknown length of the run', () => {
    class Loose extends Module<[Tensor], Tensor> {
      readonly layer = new Linear(6, 3).unit();
      readonly scale = new Parameter([3], (tensor) => ops.fillInPlace(tensor, 1));
      forward(x: Tensor): Tensor {
        return ops.mul(this.layer.call(x), this.scale.tensor);
      }
    }
    const context = launch(settings());
    expect(failure(() => initialize({ context, model: new Loose() }))).toMatchObject({
      code: 'E_ARGUMENT',
      message: expect.stringContaining('scale'),
    });
    const endless = launch(settings({ train: { steps: null, epochs: 2 } }));
    expect(failure(() => initialize({ context: endless, model: new Linear(6, 3) }))).toMatchObject({
      code: 'E_CONFIG',
      hint: expect.stringContaining('train.steps'),
    });
    using engine = initialize({ context: endless, model: new Linear(6, 3), trainData: { batchesPerEpoch: 10 } });
    expect(engine.learningRate).toBeGreaterThan(0);
  });

  it('refuses a device that is not there', () => {
    if (native().deviceCount() > 0) return;
    const error = failure(() => launch(settings({ device: 'cuda' })));
    expect(error).toMatchObject({ code: 'E_UNSUPPORTED', message: expect.stringContaining('device: cuda') });
    expect(error.hint).toMatch(/device: cpu|set device/i);
  });

  it('names what to change when memory runs out, and trains on after that', () => {
    const { engine } = startGpt({ train: { batchSize: 8 } }, { n_positions: 64 });
    const { ids, labels } = tokens(8, 64, 1);
    const small = tokens(1, 8, 2);
    engine.zeroGrad();
    native().setMemoryCap('cpu', native().memoryStats('cpu').allocatedBytes + 200_000);
    const error = failure(() => engine.backward(engine.forward({ ids, labels })));
    native().setMemoryCap('cpu', null);
    expect(error).toMatchObject({
      code: 'E_OUT_OF_MEMORY',
      message: expect.stringMatching(/(forward|backward) of step 1/),
    });
    expect(error.hint).toContain('train.batchSize (now 8)');
    expect(error.details).toMatchObject({ need: expect.any(Number) });
    engine.zeroGrad();
    engine.backward(engine.forward(small));
    expect(engine.step()).toMatchObject({ step: 1, nonFinite: null });
    engine.dispose();
  });
});

describe('what a step frees', () => {
  it('everything made since zeroGrad except what was kept', () => {
    const { engine } = startMlp();
    const { input, label } = problem(4, 1);
    engine.zeroGrad();
    const extra = ops.mul(input, 2);
    const output = engine.forward(extra);
    const loss = engine.criterion(output, label);
    const kept = ops.detach(loss).keep();
    engine.backward(loss);
    engine.step();
    expect([extra, output, loss].map((tensor) => tensor.isDisposed)).toEqual([true, true, true]);
    expect(Number.isFinite(kept.item())).toBe(true);
    kept.dispose();
    engine.dispose();
  });

  it('after an error in the middle: nothing stays behind', () => {
    const { engine } = startMlp({ train: { accumulate: 2 } });
    const { input, label } = problem(4, 1);
    const whole = (): void => {
      engine.zeroGrad();
      for (let micro = 0; micro < 2; micro++) engine.backward(engine.criterion(engine.forward(input), label));
      engine.step();
    };
    whole();
    const live = native().liveTensors();
    engine.zeroGrad();
    engine.backward(engine.criterion(engine.forward(input), label));
    expect(() => engine.backward(engine.forward(input))).toThrow();
    engine.cancelStep();
    expect(native().liveTensors()).toBe(live);
    whole();
    expect(native().liveTensors()).toBe(live);
    engine.dispose();
  });

  it('200 steps leave the number of tensors and the bytes in use as they were', () => {
    const { engine } = startGpt({ train: { accumulate: 2 }, optimizer: { name: 'adamw' } }, { resid_pdrop: 0.1 });
    const { ids, labels } = tokens(2, 16, 3);
    const seen: { live: number; bytes: number }[] = [];
    for (let step = 0; step < 200; step++) {
      engine.zeroGrad();
      for (let micro = 0; micro < 2; micro++) engine.backward(engine.forward({ ids, labels }));
      engine.step();
      seen.push({ live: native().liveTensors(), bytes: native().memoryStats('cpu').allocatedBytes });
      if (step % 50 === 0) scope(() => engine.eval().forward({ ids, labels }).item());
      engine.train();
    }
    const settled = seen.slice(2);
    expect(new Set(settled.map(({ live }) => live)).size).toBe(1);
    expect(new Set(settled.map(({ bytes }) => bytes)).size).toBe(1);
    engine.dispose();
  });

  it('dispose leaves no tensor', () => {
    const before = native().liveTensors();
    const { engine } = startMlp();
    const { input, label } = problem(4, 1);
    engine.zeroGrad();
    engine.backward(engine.criterion(engine.forward(input), label));
    engine.step();
    engine.zeroGrad();
    engine.forward(input);
    engine.dispose();
    for (const tensor of [input, label]) tensor.dispose();
    expect(native().liveTensors()).toBe(before);
  });
});

describe('what a step computes', () => {
  it('micro-batches of a larger batch give its gradient', () => {
    const { input, label } = problem(12, 4);
    const rows = (tensor: Tensor, part: number): Tensor => ops.contiguous(ops.slice(tensor, 0, part * 4, part * 4 + 4));
    const norms = [1, 3].map((accumulate) => {
      const { engine } = startMlp({ train: { accumulate, clipNorm: null } });
      engine.zeroGrad();
      for (let part = 0; part < accumulate; part++) {
        const [x, y] = accumulate === 1 ? [input, label] : [rows(input, part), rows(label, part)];
        engine.backward(engine.criterion(engine.forward(x), y));
      }
      const { gradientNorm } = engine.step()!;
      const weights = engine.model.parameters().flatMap((parameter) => ops.toArray(parameter.tensor));
      engine.dispose();
      return { gradientNorm, weights };
    });
    expect(norms[1]!.gradientNorm).toBeCloseTo(norms[0]!.gradientNorm, 5);
    const apart = norms[1]!.weights.map((weight, index) => Math.abs(weight - norms[0]!.weights[index]!));
    expect(Math.max(...apart)).toBeLessThan(1e-4);
  });

  it('clips by the global norm', () => {
    const { input, label } = problem(5, 2);
    const train = (clipNorm: number | null) => {
      const { engine, model } = startMlp({
        train: { clipNorm },
        optimizer: { name: 'sgd', learningRate: 1, momentum: 0, weightDecay: 0 },
        schedule: { name: 'constant', warmupSteps: 0 },
      });
      const before = model.parameters().map((parameter) => ops.toArray(parameter.tensor));
      engine.zeroGrad();
      engine.backward(engine.criterion(engine.forward(input), label));
      const outcome = engine.step()!;
      const moved = model
        .parameters()
        .flatMap((parameter, index) => ops.toArray(parameter.tensor).map((value, at) => before[index]![at]! - value));
      engine.dispose();
      return { outcome, moved: Math.hypot(...moved) };
    };
    const free = train(null);
    expect(free.outcome.clipFactor).toBe(1);
    expect(free.moved).toBeCloseTo(free.outcome.gradientNorm, 4);
    const limit = free.outcome.gradientNorm / 3;
    const clipped = train(limit);
    expect(clipped.outcome.gradientNorm).toBe(free.outcome.gradientNorm);
    expect(clipped.outcome.clipFactor).toBeCloseTo(1 / 3, 6);
    expect(clipped.moved).toBeCloseTo(limit, 4);
  });

  it('reports the learning rate of the schedule', () => {
    const { engine } = startMlp({
      train: { steps: 10 },
      optimizer: { learningRate: 0.1 },
      schedule: { name: 'linear', warmupSteps: 4, minRateFraction: 0 },
    });
    const { input, label } = problem(2, 1);
    const rates = Array.from({ length: 10 }, () => {
      engine.zeroGrad();
      engine.backward(engine.criterion(engine.forward(input), label));
      return engine.step()!.learningRate;
    });
    const peak = Math.max(...rates);
    expect(peak).toBeCloseTo(0.1, 10);
    expect(rates.slice(0, 4)).toEqual([...rates.slice(0, 4)].sort((a, b) => a - b));
    expect(rates.slice(4)).toEqual([...rates.slice(4)].sort((a, b) => b - a));
    expect(rates[9]).toBeLessThan(0.02);
    engine.dispose();
  });

  it('decays weights, not norms and biases; frozen parameters stay as they are', () => {
    const { engine, model } = startMlp({
      optimizer: { learningRate: 0.01, weightDecay: 10, groups: [{ match: '^second', frozen: true }] },
      schedule: { name: 'constant', warmupSteps: 0 },
    });
    const start = weightsOf(engine);
    const before = model.parameters().map((parameter) => ops.toArray(parameter.tensor));
    const input = ops.zeros([4, 6]);
    const label = ops.zeros([4, 3]);
    // Zero inputs: the first weight has no gradient, so only decay can move it.
    engine.zeroGrad();
    engine.backward(engine.criterion(engine.forward(input), label));
    engine.step();
    const [weight, bias] = model.parameters();
    const apart = ops.toArray(weight!.tensor).map((value, at) => Math.abs(value - before[0]![at]! * 0.9));
    expect(Math.max(...apart)).toBeLessThan(1e-6);
    const moved = ops.toArray(bias!.tensor).map((value, at) => Math.abs(value - before[1]![at]!));
    expect(Math.max(...moved)).toBeLessThan(0.0101);
    const end = weightsOf(engine);
    for (const name of ['second.weight weight', 'second.bias weight']) expect(end[name]).toBe(start[name]);
    expect(end['first.weight weight']).not.toBe(start['first.weight weight']);
    expect(Object.keys(end).some((name) => name.startsWith('second.weight moment'))).toBe(false);
    engine.dispose();
  });

  it('skips the update of infinite or NaN gradients, names the parameter and goes on', () => {
    const { engine } = startMlp();
    const { input, label } = problem(4, 1);
    const bad = ops.mul(input, Number.NaN);
    const step = (x: Tensor) => {
      engine.zeroGrad();
      engine.backward(engine.criterion(engine.forward(x), label));
      return engine.step()!;
    };
    step(input);
    const before = weightsOf(engine);
    const skipped = step(bad);
    expect(skipped).toMatchObject({ step: 2, nonFinite: 'first.weight' });
    expect(weightsOf(engine)).toEqual(before);
    expect(step(input)).toMatchObject({ step: 3, nonFinite: null });
    expect(weightsOf(engine)).not.toEqual(before);
    engine.dispose();
  });

  it('gives two forward passes of one micro-batch different dropout, the same again on the same step', () => {
    const outputs = [0, 1].map(() => {
      const { engine } = startMlp({}, { dropout: 0.5 });
      const { input } = problem(4, 1);
      engine.zeroGrad();
      const both = [engine.forward(input), engine.forward(input)].map(bytesOf);
      engine.dispose();
      return both;
    });
    expect(outputs[0]![0]).not.toBe(outputs[0]![1]);
    expect(outputs[0]).toEqual(outputs[1]);
  });

  it('takes any criterion', () => {
    const { engine } = startMlp({}, { criterion: (output, label) => ops.mul(meanSquaredError(output, label), 2) });
    const { input, label } = problem(4, 1);
    engine.eval();
    const loss = scope(() => engine.criterion(engine.forward(input), label).item());
    const plain = scope(() => meanSquaredError(engine.forward(input), label).item());
    expect(loss).toBeCloseTo(2 * plain, 6);
    engine.dispose();
  });
});
