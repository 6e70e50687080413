/** After a step that was dropped: states are as they were, parameters may lie under gradients. */
import { type PlacedParameter, planeOffset, valuePlane } from '../../memory/index.ts';
import type { ArenaPlace } from '../../native/binding.ts';
import { native } from '../../native/load.ts';
import { adopt, type Dtype, dtypeBytes, dtypeCode, ops, scope } from '../../tensor/index.ts';
import { planeDtype } from '../elementTypes.ts';
import type { ChunkStoreOptions, Planned } from './planned.ts';

/** Stops the step's tickets and brings the parameters, which gradients have overwritten, back from their masters. */
export function restoreFromMasters(
  { walker, plan, map, homes, onDemand, recorder, parking }: Planned,
  { dtype, device, threads }: ChunkStoreOptions,
): void {
  const source = valuePlane(plan.types);
  recorder.reset();
  walker.reset();
  parking?.reset();
  onDemand.dropCarried();
  for (const { chunk: id, update, parameterHome, stateHome } of plan.chunks) {
    // What is on disk was not written to: a step writes the other extent.
    if (update === 'none' || parameterHome === 'nvme') continue;
    const chunk = map.layout.chunks[id]!;
    const own = stateHome === 'gpu' ? device : 'cpu';
    for (const placed of chunk.parameters) {
      const { arena, offset } = homes.bytes(id, 'state', false);
      const at = offset + planeOffset(chunk, plan.types, source);
      const bytes = weightFrom({ arena, offset: at }, placed, dtype, {
        source: planeDtype(source, dtype),
        device: own,
        threads,
      });
      const home = homes.bytes(id, 'parameter', true);
      native().arenaWrite(home.arena, home.offset + placed.offset * dtypeBytes(dtype), bytes);
    }
  }
  homes.flush();
}

/** The weight of a parameter, from the plane at `place` that has it or its master. */
function weightFrom(
  { arena, offset }: ArenaPlace,
  { offset: first, elements }: PlacedParameter,
  dtype: Dtype,
  { source, device, threads }: { readonly source: Dtype; readonly device: string; readonly threads: number },
): Uint8Array {
  const bytes = new Uint8Array(elements * dtypeBytes(dtype));
  const at = offset + first * dtypeBytes(source);
  if (source === dtype) {
    native().arenaRead(arena, at, bytes);
    return bytes;
  }
  scope(() => {
    const from = adopt(native().arenaTensor(arena, at, [elements], dtypeCode(source)));
    const to = ops.empty([elements], { dtype, device });
    native().castInto(to.handle, from.handle, threads);
    native().readBytes(to.handle, bytes);
  });
  return bytes;
}
