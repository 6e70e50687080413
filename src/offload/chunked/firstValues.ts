/**
 * First values straight to where they live, one parameter in memory at a time and none in a buffer of JavaScript's:
 * freed ones would stay resident.
 */
import { type ChunkId, parameterBytes, planeOffset, stateBytes, valuePlane } from '../../memory/index.ts';
import { native } from '../../native/load.ts';
import type { ValueSource } from '../../nn/index.ts';
import { adopt, type Dtype, dtypeBytes, dtypeCode, noGrad, ops, scope, type Tensor } from '../../tensor/index.ts';
import { planeDtype } from '../elementTypes.ts';
import { firstValues } from '../firstValues.ts';
import { splitMaster } from '../resident/compressedStates.ts';
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
  { map, homes, course, plan: { types } }: Planned,
  dtype: Dtype,
  values: ValueSource,
  id: ChunkId,
  kinds: readonly HomeKind[],
): void {
  const chunk = map.layout.chunks[id]!;
  for (const kind of kinds) {
    const { arena, offset } = homes.bytes(id, kind, true);
    native().arenaFill(arena, offset, kind === 'state' ? stateBytes(chunk, types) : parameterBytes(chunk, types), 0);
  }
  const isSplit = types.states === 'compressed' && types.computeBytes === 2 && chunk.trainable && course !== null;
  for (const placed of chunk.parameters) {
    const { shape } = map.parameters[placed.id]!;
    scope(() =>
      noGrad(() => {
        const value = values(map.parameters[placed.id]!);
        for (const kind of kinds) {
          const place = homes.bytes(id, kind, true);
          const tensorIn = (which: 'weight' | 'correction'): Tensor => {
            const plane = which === 'weight' ? valuePlane(types) : which;
            const [type, before] =
              kind === 'parameter' ? [dtype, 0] : [planeDtype(plane, dtype), planeOffset(chunk, types, plane)];
            const at = place.offset + before + placed.offset * dtypeBytes(type);
            return adopt(native().arenaTensor(place.arena, at, shape, dtypeCode(type)));
          };
          placeValue(value, kind, isSplit, tensorIn);
        }
      }),
    );
  }
}

/** A value as weight or as what the state has of it. Moments begin with nothing. `isSplit`: the state keeps what bf16 leaves out. */
function placeValue(
  value: Tensor,
  kind: HomeKind,
  isSplit: boolean,
  tensorIn: (kind: 'weight' | 'correction') => Tensor,
): void {
  const weight = tensorIn('weight');
  // A value in the weights' own type leaves nothing over.
  if (!isSplit || value.dtype === weight.dtype) ops.copyInto(weight, value);
  else splitMaster(value, weight, kind === 'state' ? tensorIn('correction') : null);
}
