import { check } from '../core/errors.ts';
import { hashString } from '../core/hash.ts';
import type { Chunk, ParameterSpec, PlacedParameter } from './chunk.ts';
import { alignChunk, alignParameter } from './chunk.ts';
import { searchChunkElements } from './chunkSize.ts';
import { type ChunkId, chunkId } from './types.ts';

/**
 * Which parameter lies where. A function of the parameter list alone: budgets, tiers, element types, ZeRO stage and
 * rank do not enter, so states saved under one placement load under any other.
 */
export interface Layout {
  readonly version: 1;
  /** Capacity of an ordinary chunk, in elements; GPU slots have this size. */
  readonly chunkElements: number;
  readonly chunks: readonly Chunk[];
  /** Per unit, the chunks it needs, ascending. */
  readonly chunksOfUnit: readonly (readonly ChunkId[])[];
  /** Elements inside chunks that belong to no parameter. */
  readonly paddingElements: number;
  /** Same hash, same layout: written into checkpoints. */
  readonly hash: string;
}

export interface LayoutOptions {
  /** Fixes the ordinary chunk's capacity instead of searching it. */
  readonly chunkElements?: number;
}

/** A run of parameters that may share chunks: one unit, one trainability, tied or not. */
export interface PackingRun {
  readonly units: readonly number[];
  readonly trainable: boolean;
  readonly parameters: readonly ParameterSpec[];
}

/**
 * Packs parameters, given in order of first use, into chunks. Units are never mixed: a chunk smaller than a slot costs
 * nothing at home, and a chunk with two units would have to wait for both. A tied parameter is stored once, apart from
 * its neighbours, and belongs to all units that use it. Throws `E_ARGUMENT` for lists that contradict themselves.
 */
export function layOut(parameters: readonly ParameterSpec[], options: LayoutOptions = {}): Layout {
  const runs = packingRuns(parameters);
  const chunkElements = alignChunk(options.chunkElements ?? searchChunkElements(runs));
  const chunks: Chunk[] = [];
  for (const run of runs) packRun(run, chunkElements, chunks);
  const unitCount = parameters.reduce((count, parameter) => Math.max(count, parameter.unit + 1), 0);
  const chunksOfUnit: ChunkId[][] = Array.from({ length: unitCount }, () => []);
  for (const chunk of chunks) for (const unit of chunk.units) chunksOfUnit[unit]!.push(chunk.id);
  const paddingElements = chunks.reduce((sum, chunk) => sum + chunk.elements - chunk.usedElements, 0);
  const hash = hashString(JSON.stringify([chunkElements, chunks]))
    .toString(16)
    .padStart(16, '0');
  return { version: 1, chunkElements, chunks, chunksOfUnit, paddingElements, hash };
}

/** Groups parameters that may share a chunk, in order of first use. */
export function packingRuns(parameters: readonly ParameterSpec[]): PackingRun[] {
  const owners = new Map<number, { readonly spec: ParameterSpec; readonly units: Set<number> }>();
  for (const spec of parameters) {
    check(
      Number.isSafeInteger(spec.elements) && spec.elements > 0,
      `layout: ${spec.name} has ${spec.elements} elements`,
    );
    check(Number.isSafeInteger(spec.unit) && spec.unit >= 0, `layout: ${spec.name} belongs to unit ${spec.unit}`);
    check(!owners.has(spec.id), `layout: parameter id ${spec.id} (${spec.name}) appears twice`);
    if (spec.tiedTo === undefined) {
      owners.set(spec.id, { spec, units: new Set([spec.unit]) });
      continue;
    }
    const owner = owners.get(spec.tiedTo);
    check(
      owner !== undefined,
      `layout: ${spec.name} is tied to parameter ${spec.tiedTo}, which does not come before it`,
    );
    check(
      owner.spec.elements === spec.elements,
      `layout: ${spec.name} (${spec.elements}) is tied to ${owner.spec.name} (${owner.spec.elements} elements)`,
    );
    owner.units.add(spec.unit);
  }
  const runs = new Map<string, { units: number[]; trainable: boolean; parameters: ParameterSpec[] }>();
  for (const { spec, units } of owners.values()) {
    const sorted = [...units].sort((a, b) => a - b);
    const key = `${sorted.join()}|${spec.trainable}`;
    const run = runs.get(key) ?? { units: sorted, trainable: spec.trainable, parameters: [] };
    run.parameters.push(spec);
    runs.set(key, run);
  }
  return [...runs.values()].sort((a, b) => a.units[0]! - b.units[0]!);
}

function packRun(run: PackingRun, capacity: number, chunks: Chunk[]): void {
  let placed: PlacedParameter[] = [];
  let filled = 0;
  const close = (large: boolean): void => {
    if (placed.length === 0) return;
    const usedElements = placed.reduce((sum, parameter) => sum + parameter.elements, 0);
    const shape = { units: run.units, elements: alignChunk(filled), usedElements, trainable: run.trainable, large };
    chunks.push({ id: chunkId(chunks.length), ...shape, parameters: placed });
    placed = [];
    filled = 0;
  };
  for (const { id, name, elements, group } of run.parameters) {
    const aligned = alignParameter(elements);
    if (filled + aligned > capacity) close(false);
    placed.push({ id, name, offset: filled, elements, group });
    filled += aligned;
    if (filled > capacity) close(true);
  }
  close(false);
}
