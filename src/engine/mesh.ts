/** The ranks of this process's world along the axes of `parallel:`, met once for each context. */
import { TierraError } from '../core/errors.ts';
import { connect, type Group } from '../dist/index.ts';
import { type Mesh, MeshLayout, makeMesh } from '../dist/mesh.ts';
import type { Context } from './launch.ts';

const known = new WeakMap<Context, Mesh>();

/** Throws `E_CONFIG` with the equation when the degrees do not multiply to the number of ranks. */
export function meshOf(context: Context): Mesh {
  let mesh = known.get(context);
  if (mesh === undefined) {
    const { config, world, backend, device } = context;
    const { dp, pp, tp, sp, ep } = config.parallel;
    const degrees = { ...(dp === 'auto' ? {} : { dp }), pp, tp, sp, ep };
    const layout = new MeshLayout(world.size, degrees);
    if (layout.degrees.dp > 1 && layout.degrees.dp < world.size) {
      throw new TierraError('E_UNSUPPORTED', `parallel: ${layout.describe()}: dp is not combined with other axes yet`, {
        hint: 'Start as many ranks as the other degrees multiply to, or set them to 1.',
      });
    }
    const peers = connect(world, { backend, device, deterministic: config.runtime.deterministic });
    // A failed process must not wait for the others; one that ends well serves their last questions.
    process.once('exit', (code) => {
      if (code === 0) peers.dispose();
    });
    mesh = makeMesh(peers, degrees);
    known.set(context, mesh);
  }
  return mesh;
}

/**
 * The ranks of this process's pipeline; null where there is none. Throws `E_UNSUPPORTED` where other ranks share batches
 * or layers with it: their gradients would not be summed.
 */
export function pipelineGroup(context: Context): Group | null {
  const { pp } = context.config.parallel;
  if (pp === 1) return null;
  const { size } = context.world;
  if (size !== pp) {
    throw new TierraError(
      'E_UNSUPPORTED',
      `parallel.pp ${pp} with ${size} ranks: a pipeline beside other axes is not there yet`,
      { hint: `Start ${pp} ranks, or set parallel.pp: 1.`, details: { pp, size } },
    );
  }
  return meshOf(context).group('pp');
}
