import {
  type Chunk,
  type ElementBytes,
  type PlaneKind,
  planeEntries,
  planeOffset,
  stateBytes,
  statePlanes,
} from '../memory/index.ts';
import type { CompressedPlanes } from '../native/binding.ts';

/** Where the planes of a chunk's compressed state lie, as an update ticket says it; null for exact states. */
export function compressedPlanes(chunk: Chunk, types: ElementBytes): CompressedPlanes | null {
  if (types.states !== 'compressed') return null;
  const at = (kind: PlaneKind): number => planeOffset(chunk, types, kind);
  const scales = statePlanes(types).find(({ kind }) => kind === 'moment1Scales')!;
  return {
    weight: at('weight'),
    low: types.computeBytes === 2 ? at('correction') : 0,
    m: at('moment1Codes'),
    root: at('moment2Codes'),
    mScales: at('moment1Scales'),
    rootScales: at('moment2Scales'),
    scales: planeEntries(chunk, scales),
    bytes: stateBytes(chunk, types),
  };
}
