/**
 * A two-layer perceptron, 1024 → 16384 → 1024, over a square of 2 x 2 processes: no rank ever holds a whole matrix.
 *
 *     npx tierra run -n 4 examples/04-parallel/mlp-2d.ts
 *
 * In a project of your own, import from 'tierra'.
 */
import { dist, grad, launch, nn, noGrad, ops, scope, type Tensor } from '../../src/index.ts';

class Mlp2D extends nn.Module<[dist.Sharded], dist.Sharded> {
  readonly up = new dist.Linear2D(1024, 16_384);
  readonly down = new dist.Linear2D(16_384, 1024);

  forward(x: dist.Sharded): dist.Sharded {
    const hidden = dist.mapElements(this.up.call(x), (block) => ops.gelu(block));
    return this.down.call(hidden);
  }
}

// Who am I, and who else is there? All ranks share the tensors: tp is the whole world.
const { world, device, backend } = launch({ device: 'cpu' });
const communicator = dist.connect(world, { device, backend });
const mesh = dist.makeMesh(communicator, { tp: world.size });
const place = dist.squareOf(mesh);

// Layers made here stand in this rank's row and column. Their values are blocks of those of one whole model.
const model = dist.withPlace(place, () => new Mlp2D());
nn.placeParameters(model, { seed: 1, dtype: 'float32', device });

// 64 rows, to be turned into themselves: every rank keeps the block of its row and column.
const rows = ops.fromArray(
  Float32Array.from({ length: 64 * 1024 }, (_, i) => Math.sin(i * 0.37)),
  [64, 1024],
  { device },
);
const x = dist.cutTensor(rows, [['column'], ['row']], place.groups);

/** Mean of the squared differences over all blocks. */
function lossOf(y: dist.Sharded): Tensor {
  const difference = ops.sub(y.tensor, x.tensor);
  let sum = ops.sum(ops.mul(difference, difference));
  for (const group of [place.groups.row, place.groups.column]) sum = dist.reduceFromGroup(sum, group);
  return ops.div(sum, 64 * 1024);
}

const parameters = model.parameters();
const rate = 2;
for (let step = 1; step <= 5; step++) {
  scope(() => {
    const loss = lossOf(model.call(x));
    const gradients = grad(
      [loss],
      parameters.map(({ tensor }) => tensor),
    );
    noGrad(() => {
      for (const [i, { tensor }] of parameters.entries()) ops.addInPlace(tensor, gradients[i]!, -rate);
    });
    if (world.rank === 0) console.log(`step ${step}  loss ${loss.item().toFixed(5)}`);
  });
}

if (world.rank === 0) {
  const elements = parameters.reduce((sum, { tensor }) => sum + tensor.elements, 0);
  const held = elements / model.parameterCount;
  const moved = Object.values(place.groups).flatMap((group) => Object.values(group.counters()));
  const received = moved.reduce((sum, { bytesReceived }) => sum + bytesReceived, 0);
  console.log(
    `${place.edge} x ${place.edge} ranks, ${held} of the parameters each; ${received} bytes received in 5 steps`,
  );
}
model.unplace();
communicator.dispose();
