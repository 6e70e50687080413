import { alignChunk, alignParameter } from './chunk.ts';
import type { PackingRun } from './layout.ts';

/** Below this a transfer is all latency; above it a chunk is too coarse to overlap well. In elements. */
const smallest = 1 << 20;
const largest = 64 << 20;
const maxCandidates = 512;

/**
 * The ordinary chunk's capacity that wastes least slot space, as Gemini searches it: parameters above mean + 3σ are set
 * aside (they get chunks of their own), the others bound the capacity from below. Candidates are the sizes at which a
 * run of parameters ends exactly, so that whole units, halves, thirds are among them. Ties go to the larger chunk.
 */
export function searchChunkElements(runs: readonly PackingRun[]): number {
  const sizes = runs.map((run) => run.parameters.map((parameter) => alignParameter(parameter.elements)));
  const limit = outlierLimit(sizes.flat());
  const ordinary = sizes.map((run) => run.filter((size) => size <= limit)).filter((run) => run.length > 0);
  if (ordinary.length === 0) return smallest;
  const longest = Math.max(...ordinary.map((run) => run.reduce((sum, size) => sum + size, 0)));
  const floor = Math.max(Math.max(...ordinary.map((run) => Math.max(...run))), Math.min(smallest, longest));
  const ceiling = Math.max(floor, largest);
  const counted = countRuns(ordinary);
  let best = alignChunk(floor);
  let bestWaste = Number.POSITIVE_INFINITY;
  for (const capacity of candidates(counted.keys(), floor, ceiling)) {
    let waste = 0;
    for (const [run, count] of counted) waste += count * slotWaste(run, capacity);
    if (waste < bestWaste || (waste === bestWaste && capacity > best)) {
      best = capacity;
      bestWaste = waste;
    }
  }
  return best;
}

function outlierLimit(sizes: readonly number[]): number {
  const mean = sizes.reduce((sum, size) => sum + size, 0) / Math.max(1, sizes.length);
  const variance = sizes.reduce((sum, size) => sum + (size - mean) ** 2, 0) / Math.max(1, sizes.length);
  return mean + 3 * Math.sqrt(variance);
}

/** Equal units are packed alike: count them instead of packing each. */
function countRuns(runs: readonly (readonly number[])[]): Map<readonly number[], number> {
  const byShape = new Map<string, readonly number[]>();
  const counted = new Map<readonly number[], number>();
  for (const run of runs) {
    const key = run.join();
    const known = byShape.get(key) ?? run;
    byShape.set(key, known);
    counted.set(known, (counted.get(known) ?? 0) + 1);
  }
  return counted;
}

function candidates(runs: Iterable<readonly number[]>, floor: number, ceiling: number): number[] {
  const found = new Set<number>([alignChunk(floor)]);
  for (const run of runs) {
    for (let start = 0; start < run.length && found.size < maxCandidates; start++) {
      let sum = 0;
      for (let end = start; end < run.length; end++) {
        sum += run[end]!;
        if (sum > ceiling) break;
        if (sum >= floor) found.add(alignChunk(sum));
      }
    }
  }
  return [...found].sort((a, b) => a - b);
}

/** Slot elements left empty when `run` is packed into chunks of `capacity`. */
function slotWaste(run: readonly number[], capacity: number): number {
  let chunks = 1;
  let filled = 0;
  let total = 0;
  for (const size of run) {
    if (filled + size > capacity) {
      chunks++;
      filled = 0;
    }
    filled += size;
    total += size;
  }
  return chunks * capacity - total;
}
