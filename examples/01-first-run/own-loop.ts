/**
 * A model, data and a training loop of your own. Run it with: npx tsx examples/01-first-run/own-loop.ts
 * In a project of your own, import from 'tierra'.
 */
import { initialize, launch, losses, nn, ops, type Tensor } from '../../src/index.ts';

/** x `[rows, 2]` → `[rows, 1]`. A unit is what is fetched, computed and released together. */
class Mlp extends nn.Module<[Tensor], Tensor> {
  readonly hidden = new nn.Linear(2, 32).unit();
  readonly out = new nn.Linear(32, 1).unit();

  forward(x: Tensor): Tensor {
    return this.out.call(ops.tanh(this.hidden.call(x)));
  }
}

/** 64 points of a saddle, new ones in every batch. */
function* saddle(batches: number): Generator<{ input: Tensor; label: Tensor }> {
  for (let batch = 0; batch < batches; batch++) {
    const points = Array.from(
      { length: 64 },
      (_, i) => [Math.sin(batch * 7 + i), Math.cos(batch * 3 + i * i)] as const,
    );
    const input = ops.fromArray(points.flat(), [64, 2]);
    const label = ops.fromArray(
      points.map(([x, y]) => x * y),
      [64, 1],
    );
    yield { input, label };
  }
}

const steps = 300;
const context = launch({
  device: 'cpu',
  optimizer: { name: 'adamw', learningRate: 0.02 },
  schedule: { name: 'cosine' },
  train: { steps },
});
using engine = initialize({ context, model: new Mlp(), criterion: losses.meanSquaredError });

engine.train();
for (const { input, label } of saddle(steps)) {
  engine.zeroGrad();
  const output = engine.forward(input);
  const loss = engine.criterion(output, label);
  engine.backward(loss);
  const value = loss.item(); // the step frees what was made in it
  const { step } = engine.step()!;
  input.dispose();
  label.dispose();
  if (step === 1 || step % 50 === 0) console.log(`step ${step}  loss ${value.toFixed(4)}`);
}
