/** After a step that was dropped: states are as they were, parameters may lie under gradients. */
import { native } from '../../native/load.ts';
import { adopt, dtypeBytes, dtypeCode, ops, scope } from '../../tensor/index.ts';
import { stateDtype } from '../resident/entries.ts';
import type { ChunkStoreOptions, Planned } from './planned.ts';

/** Stops the step's tickets and brings the parameters, which gradients have overwritten, back from their masters. */
export function restoreFromMasters(
  { walker, plan, map, homes, onDemand, recorder, parking }: Planned,
  { dtype, device, threads }: ChunkStoreOptions,
): void {
  const wide = stateDtype(dtype);
  recorder.reset();
  walker.reset();
  parking?.reset();
  onDemand.dropCarried();
  for (const { chunk: id, update, parameterHome, stateHome } of plan.chunks) {
    // What is on disk was not written to: a step writes the other extent.
    if (update === 'none' || parameterHome === 'nvme') continue;
    const chunk = map.layout.chunks[id]!;
    const options = { dtype, device: stateHome === 'gpu' ? device : 'cpu' };
    for (const { offset, elements } of chunk.parameters) {
      const bytes = new Uint8Array(elements * dtypeBytes(dtype));
      scope(() => {
        const master = homes.bytes(id, 'state', false);
        const at = master.offset + offset * dtypeBytes(wide);
        const from = adopt(native().arenaTensor(master.arena, at, [elements], dtypeCode(wide)));
        const to = ops.empty([elements], options);
        native().castInto(to.handle, from.handle, threads);
        native().readBytes(to.handle, bytes);
      });
      const home = homes.bytes(id, 'parameter', true);
      native().arenaWrite(home.arena, home.offset + offset * dtypeBytes(dtype), bytes);
    }
  }
  homes.flush();
}
