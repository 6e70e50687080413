/**
 * The best mesh for a model and described GPUs, by trying all that fit: degrees that divide what they cut, with and
 * without recomputation, ZeRO and host states. Meshes over budget are kept for the reasons.
 */
import { TierraError } from '../../core/errors.ts';
import { formatBytes } from '../../core/units.ts';
import { type Mesh, type Prediction, predict, type Work } from './predict.ts';

export interface MeshProposal {
  readonly best: Prediction;
  /** The next best, each of another division into dp, pp, tp, sp and ep. */
  readonly runnersUp: readonly Prediction[];
  /** Why it is the best, a sentence each. */
  readonly reasons: readonly string[];
  /** The same for another one. */
  readonly reasonsFor: (one: Prediction) => readonly string[];
  readonly tried: number;
}

/** Throws `E_OUT_OF_MEMORY` when no mesh fits, with the one that lacks least. */
export function proposeMesh(work: Work): MeshProposal {
  const all = meshes(work).map((mesh) => predict(mesh, work));
  const fitting = all.filter((one) => fits(one, work)).sort(better);
  const [best] = fitting;
  if (best === undefined) throw nothingFits(all, work);
  const seen = new Set([division(best.mesh)]);
  const runnersUp = fitting.filter(({ mesh }) => !seen.has(division(mesh)) && seen.add(division(mesh))).slice(0, 3);
  const reasons = (one: Prediction): string[] => reasonsFor(one, all, work);
  return { best, runnersUp, reasons: reasons(best), reasonsFor: reasons, tried: all.length };
}

export const division = ({ dp, pp, tp, sp, ep = 1 }: Mesh): string =>
  `dp ${dp} x pp ${pp} x tp ${tp} x sp ${sp}${ep > 1 ? ` x ep ${ep}` : ''}`;

/** Faster; then simpler: fewer kinds of division, lower ZeRO stages. */
const better = (a: Prediction, b: Prediction): number =>
  a.stepSeconds - b.stepSeconds || complexity(a.mesh) - complexity(b.mesh);

const complexity = ({ pp, tp, sp, ep = 1, zero, recompute, statesOnHost }: Mesh): number =>
  [pp > 1, tp > 1, sp > 1, ep > 1, recompute, statesOnHost].filter(Boolean).length * 4 + zero;

function fits({ memory, mesh }: Prediction, { cluster }: Work): boolean {
  return memory.total <= cluster.gpuBytes && (!mesh.statesOnHost || memory.states <= cluster.hostBytes);
}

const divisors = (value: number): number[] =>
  Array.from({ length: value }, (_, index) => index + 1).filter((divisor) => value % divisor === 0);

type Division = Pick<Mesh, 'dp' | 'pp' | 'tp' | 'sp' | 'ep' | 'sequenceMode'>;

/** Every mesh whose equations hold, and whole micro-batches. */
function meshes(work: Work): Mesh[] {
  const { cluster, batch } = work;
  const found: Mesh[] = [];
  for (const divided of divisions(work)) {
    const { dp, pp, sp, ep = 1 } = divided;
    for (const perRank of divisors(batch / (dp * ep))) {
      for (const zero of dp * sp * ep === 1 ? ([0] as const) : ([0, 1, 2, 3] as const)) {
        // A pipeline would gather parameters for every micro-batch of every stage.
        if (pp > 1 && zero > 1) continue;
        for (const recompute of [false, true]) {
          for (const statesOnHost of cluster.hostBytes > 0 ? [false, true] : [false]) {
            const microBatches = batch / (dp * ep) / perRank;
            found.push({ ...divided, zero, recompute, statesOnHost, sequences: perRank, microBatches });
          }
        }
      }
    }
  }
  return found;
}

/** dp pp sp ep tp = GPUs, pp <= layers, experts % ep = 0, and what sharing sequences asks for. Ranks along ep have rows of their own. */
function divisions({ model, cluster, batch, sequence, sequenceModes = ['heads'] }: Work): Division[] {
  const found: Division[] = [];
  const isWhole = (value: number, divisor: number): boolean => value % divisor === 0;
  for (const tp of divisors(cluster.gpus).filter((degree) => degree <= cluster.gpusPerNode)) {
    if (!isWhole(model.heads, tp) || !isWhole(model.keyValueHeads, tp)) continue;
    for (const sp of divisors(cluster.gpus / tp)) {
      // Heads are dealt out to tensor and sequence ranks; a ring has two runs of each sequence on a rank.
      const fits = { heads: isWhole(model.keyValueHeads, tp * sp), ring: isWhole(sequence, 2 * sp) };
      const modes = sp === 1 ? [null] : sequenceModes.filter((mode) => fits[mode] && isWhole(sequence, sp));
      for (const ep of divisors(cluster.gpus / (tp * sp)).filter((degree) =>
        isWhole(model.experts?.count ?? 1, degree),
      )) {
        const left = cluster.gpus / (tp * sp * ep);
        for (const pp of divisors(left).filter((degree) => degree <= model.layers)) {
          const dp = left / pp;
          if (!isWhole(batch, dp * ep)) continue;
          for (const mode of modes) {
            found.push({ dp, pp, tp, sp, ...(ep > 1 ? { ep } : {}), ...(mode === null ? {} : { sequenceMode: mode }) });
          }
        }
      }
    }
  }
  return found;
}

function reasonsFor(best: Prediction, all: readonly Prediction[], work: Work): string[] {
  const { mesh, memory, parts, bytes, bubbleShare, stepSeconds } = best;
  const { cluster } = work;
  const share = (seconds: number): string => `${((100 * seconds) / stepSeconds).toFixed(1)} %`;
  const reasons = [
    `${division(mesh)} = ${cluster.gpus} GPUs: ${formatBytes(memory.total)} of ${formatBytes(cluster.gpuBytes)} per GPU, ${share(parts.compute)} of the step computes.`,
  ];
  const plain = all.filter(({ mesh: { pp, tp, sp, ep = 1, zero, recompute, statesOnHost } }) => {
    return pp * tp * sp * ep === 1 && zero === 0 && !recompute && !statesOnHost;
  });
  const leanest = plain.reduce<Prediction | null>(
    (least, one) => (least === null || one.memory.total < least.memory.total ? one : least),
    null,
  );
  if (leanest !== null && !fits(leanest, work)) {
    reasons.push(
      `Whole copies of model and states do not fit: they need ${formatBytes(leanest.memory.total)} per GPU at least.`,
    );
  }
  if (mesh.zero > 0) {
    const what = ['', 'optimizer states', 'states and gradients', 'parameters, gradients and states'][mesh.zero];
    reasons.push(
      `ZeRO ${mesh.zero} divides ${what} over ${mesh.dp * mesh.sp * (mesh.ep ?? 1)} ranks${(mesh.ep ?? 1) > 1 ? `, those of experts over ${mesh.dp * mesh.sp}` : ''}.`,
    );
  }
  if (mesh.tp > 1) {
    reasons.push(
      `Tensor groups of ${mesh.tp} stay in a node: ${formatBytes(bytes.tensor)} received per GPU and step, ${share(parts.tensor)}.`,
    );
  }
  if (mesh.sp > 1) {
    reasons.push(
      mesh.sequenceMode === 'ring'
        ? `Sequences lie on ${mesh.sp} ranks each, keys and values go around: ${formatBytes(bytes.sequence)}, ${share(parts.sequence)} not hidden by attention.`
        : `Sequence groups of ${mesh.sp} exchange heads: ${formatBytes(bytes.sequence)}, ${share(parts.sequence)}.`,
    );
  }
  if ((mesh.ep ?? 1) > 1) {
    reasons.push(
      `Experts lie on ${mesh.ep} ranks, rows go there and back: ${formatBytes(bytes.experts)}, ${share(parts.experts)}.`,
    );
  }
  if (mesh.pp > 1) {
    reasons.push(
      `The pipeline of ${mesh.pp} idles (P-1)/(m+P-1) = ${(100 * bubbleShare).toFixed(1)} % with ${mesh.microBatches} micro-batches, and sends ${formatBytes(bytes.pipeline)} at most per GPU.`,
    );
  }
  if (bytes.data > 0) {
    const exposed = parts.data > 0 ? `${share(parts.data)} is not hidden by computation` : 'hidden behind computation';
    reasons.push(`Data-parallel ranks exchange ${formatBytes(bytes.data)} per GPU, ${exposed}.`);
  }
  if (mesh.recompute) reasons.push(`Activations would not fit, or only in slower meshes: they are computed again.`);
  if (mesh.statesOnHost) {
    reasons.push(
      `Optimizer states lie in host memory, ${formatBytes(memory.states)} per GPU; ${share(parts.update)} is not hidden.`,
    );
  }
  return reasons;
}

function nothingFits(all: readonly Prediction[], { cluster }: Work): TierraError {
  if (all.length === 0) {
    return new TierraError(
      'E_CONFIG',
      `no mesh divides ${cluster.gpus} GPUs, the heads and the batch into whole parts`,
      {
        hint: 'Take a batch that the number of GPUs divides.',
      },
    );
  }
  const closest = all.reduce((least, one) => (one.memory.total < least.memory.total ? one : least));
  return new TierraError(
    'E_OUT_OF_MEMORY',
    `no mesh of ${cluster.gpus} GPUs fits: the leanest, ${division(closest.mesh)} with ZeRO ${closest.mesh.zero}, needs ${formatBytes(closest.memory.total)} per GPU of ${formatBytes(cluster.gpuBytes)}`,
    { hint: 'Take more GPUs, shorter sequences, or memory tiers below the GPU (memory.cpu, memory.nvme).' },
  );
}
