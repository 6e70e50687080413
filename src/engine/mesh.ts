/** The ranks of this process's world along the axes of `parallel:`, met once for each context. */
import { type Communicator, connect, type Group } from '../dist/index.ts';
import { type Degrees, type Mesh, MeshLayout, makeMesh } from '../dist/mesh.ts';
import type { Context } from './launch.ts';
import { orderAsked } from './microBatchOrder.ts';
import { asksForTiers } from './placement.ts';

const known = new WeakMap<Context, Mesh>();

/** Throws `E_CONFIG` with the equation when the degrees do not multiply to the number of ranks. */
export function meshOf(context: Context): Mesh {
  const mesh = known.get(context);
  if (mesh !== undefined) return mesh;
  const { config, world, backend, device } = context;
  // The equation first: ranks that cannot form this mesh need not meet.
  new MeshLayout(world.size, degreesOf(context));
  const peers = connect(world, {
    backend,
    device,
    deterministic: config.runtime.deterministic,
    facts: { config: sharedSettings(context) },
  });
  // A failed process must not wait for the others; one that ends well serves their last questions.
  process.once('exit', (code) => {
    if (code === 0) peers.dispose();
  });
  return joinMesh(context, peers);
}

/** What ranks must agree on before they train together. Where each keeps its part, and how it uses its machine, is its own matter. */
function sharedSettings({ config, dtype }: Context): unknown {
  const { model, data, train, optimizer, lossScale, schedule, parallel, seed, memory } = config;
  const { cache: _, ...read } = data;
  const inUnits = parallel.tp * parallel.sp * parallel.ep;
  return {
    seed,
    precision: dtype,
    model,
    data: read,
    train,
    optimizer,
    lossScale,
    schedule,
    parallel,
    // Where units communicate, ranks also watch their first micro-batch together, or none does.
    memory: { accumulation: orderAsked(memory), ...(inUnits > 1 ? { 'in tiers': asksForTiers(memory) } : {}) },
  };
}

/** The mesh of ranks that have met already, for a script that called `connect` itself: before anything asks for it. */
export function joinMesh(context: Context, peers: Communicator): Mesh {
  const mesh = makeMesh(peers, degreesOf(context));
  known.set(context, mesh);
  return mesh;
}

/** Processes that train together: those that have met, or those that the launcher started. */
export const jobSize = (context: Context): number => known.get(context)?.layout.size ?? context.world.size;

function degreesOf({ config }: Context): Degrees {
  const { dp, pp, tp, sp, ep } = config.parallel;
  return { ...(dp === 'auto' ? {} : { dp }), pp, tp, sp, ep };
}

/** The ranks of this process's pipeline; null where there is none. */
export const pipelineGroup = (context: Context): Group | null =>
  context.config.parallel.pp === 1 ? null : meshOf(context).group('pp');
