/** `parallel.tensor`: which numbers of ranks form a square or a cube, and what its blocks ask of the rest. */
import type { Problem } from './problems.ts';
import { type Path, placeOf, type SourceTree, valueAt } from './tree.ts';

interface Shape {
  readonly tp: number;
  readonly tensor: string;
  readonly depth: number | null;
}

const number = (tree: SourceTree, path: Path): number | null => {
  const value = valueAt(tree.root, path);
  return Number.isSafeInteger(value) && Number(value) >= 1 ? Number(value) : null;
};

export function checkTensor(tree: SourceTree): Problem[] {
  const tensor = valueAt(tree.root, ['parallel', 'tensor']) ?? '1d';
  const tp = number(tree, ['parallel', 'tp']) ?? 1;
  const depth = number(tree, ['parallel', 'depth']);
  const found = (path: Path, message: string): Problem[] => [{ place: placeOf(tree, path, 'key'), message }];
  if (depth !== null && tensor !== '2.5d') {
    const message = `parallel.depth: only parallel.tensor: 2.5d has layers of squares, this one is ${String(tensor)}`;
    return found(['parallel', 'depth'], message);
  }
  if (typeof tensor !== 'string' || tensor === '1d') return [];
  if (tensor === '2.5d' && depth === null) return found(['parallel', 'tensor'], missingDepth(tp));
  if (tp === 1) return [];
  const shape = { tp, tensor, depth };
  const wrong = misshapen(shape);
  if (wrong !== null) return found(['parallel', 'tp'], wrong);
  const ep = number(tree, ['parallel', 'ep']) ?? 1;
  if (ep > 1) {
    const message = `parallel.ep: experts need whole rows, and parallel.tensor: ${tensor} cuts their width; take 1d with experts`;
    return found(['parallel', 'ep'], message);
  }
  const batch = number(tree, ['train', 'batchSize']);
  const dp = number(tree, ['parallel', 'dp']) ?? 1;
  const parts = rowParts(shape);
  if (batch === null || batch % (dp * parts) === 0) return [];
  const product = dp === 1 ? `${parts}` : `${dp} x ${parts}`;
  return found(
    ['train', 'batchSize'],
    `train.batchSize: ${batch} sequences cannot be cut into ${product} equal parts: parallel.tensor: ${tensor} over tp ${tp} cuts each ${dp === 1 ? 'batch' : "data rank's batch"} into ${parts}`,
  );
}

/** Into how many parts a batch's rows are cut: q in 2D, d q in 2.5D, d squared in 3D. */
function rowParts({ tp, tensor, depth }: Shape): number {
  if (tensor === '2d') return Math.round(Math.sqrt(tp));
  return tensor === '3d' ? Math.round(Math.cbrt(tp)) ** 2 : depth! * Math.round(Math.sqrt(tp / depth!));
}

function misshapen({ tp, tensor, depth }: Shape): string | null {
  const layers = tensor === '2.5d' ? depth! : 1;
  const power = tensor === '3d' ? 3 : 2;
  const ranksOf = (edge: number): number => layers * edge ** power;
  const edge = Math.max(1, Math.floor((tp / layers) ** (1 / power) + 1e-9));
  if (ranksOf(edge) === tp) return null;
  const form = { 2: layers === 1 && tensor === '2d' ? 'q x q' : `${layers} x q x q`, 3: 'd x d x d' }[power];
  const near = [edge, edge + 1].map(ranksOf).join(' and ');
  return `parallel.tp: parallel.tensor: ${tensor} needs ${form} ranks, and ${tp} are not; the nearest are ${near}`;
}

/** Edges that anyone will have. */
const edges = Array.from({ length: 32 }, (_, at) => at + 2);

function missingDepth(tp: number): string {
  const depths = edges.map((edge) => tp / edge ** 2).filter((depth) => Number.isInteger(depth) && depth > 1);
  const fitting =
    depths.length === 0 ? `none fits tp ${tp}; tp 8 is 2 x 2 x 2` : `for tp ${tp}: ${depths.join(' or ')}`;
  return `parallel.tensor: 2.5d needs parallel.depth, how many squares of ranks lie over each other (${fitting})`;
}
