/**
 * First values straight to where they live, one parameter in memory at a time and none in a buffer of JavaScript's:
 * freed ones would stay resident.
 */
import type { ChunkId } from '../../memory/index.ts';
import { native } from '../../native/load.ts';
import type { ValueSource } from '../../nn/index.ts';
import { adopt, type Dtype, dtypeBytes, dtypeCode, noGrad, ops, scope } from '../../tensor/index.ts';
import { firstValues } from '../firstValues.ts';
import { stateDtype } from '../resident/entries.ts';
import type { HomeKind } from './homes.ts';
import type { ChunkStoreOptions, Planned } from './planned.ts';

/** Chunks with both homes on disk pass through one staging slot, so their values are asked for twice. */
export function placeValues(planned: Planned, options: ChunkStoreOptions): void {
  const { map, homes, plan } = planned;
  const values = firstValues(options);
  const placeChunk = (id: ChunkId, kinds: readonly HomeKind[]): void =>
    placeKinds(planned, options.dtype, values, id, kinds);
  for (const { id } of map.layout.chunks) {
    const { parameterHome, stateHome } = plan.chunks[id]!;
    if (stateHome === 'none') placeChunk(id, ['parameter']);
    else if (parameterHome !== 'nvme' || stateHome !== 'nvme') placeChunk(id, ['parameter', 'state']);
    else for (const kind of ['parameter', 'state'] as const) placeChunk(id, [kind]);
  }
  homes.flush();
}

function placeKinds(
  { map, homes }: Planned,
  dtype: Dtype,
  values: ValueSource,
  id: ChunkId,
  kinds: readonly HomeKind[],
): void {
  const typeOf = (kind: HomeKind): Dtype => (kind === 'state' ? stateDtype(dtype) : dtype);
  const chunk = map.layout.chunks[id]!;
  for (const kind of kinds) {
    const { arena, offset } = homes.bytes(id, kind, true);
    native().arenaFill(arena, offset, chunk.elements * dtypeBytes(typeOf(kind)) * (kind === 'state' ? 3 : 1), 0);
  }
  for (const placed of chunk.parameters) {
    const parameter = map.parameters[placed.id]!;
    scope(() =>
      noGrad(() => {
        const value = values(parameter);
        for (const kind of kinds) {
          const { arena, offset } = homes.bytes(id, kind, true);
          const at = offset + placed.offset * dtypeBytes(typeOf(kind));
          const code = dtypeCode(typeOf(kind));
          ops.copyInto(adopt(native().arenaTensor(arena, at, parameter.shape, code)), value);
        }
      }),
    );
  }
}
