import { z } from 'zod';
import { isOverride } from './overrides.ts';
import type { Problem } from './problems.ts';
import { lossScaleSchema } from './schema/lossScale.ts';
import { modelSchema } from './schema/model.ts';
import { branches, markOf, peel } from './schemaWalk.ts';
import { checkTensor } from './tensorRules.ts';
import {
  formatPath,
  formatPlace,
  isPlainObject,
  type Path,
  pathKey,
  placeOf,
  type SourceTree,
  valueAt,
} from './tree.ts';

/** Fields of which at most one may be given. */
const alternatives: readonly (readonly [Path, Path])[] = [
  [
    ['train', 'steps'],
    ['train', 'epochs'],
  ],
  [
    ['schedule', 'warmupSteps'],
    ['schedule', 'warmupFraction'],
  ],
  [
    ['memory', 'nvme', 'path'],
    ['memory', 'nvme', 'paths'],
  ],
];

/**
 * What must hold between fields. Works on values before validation, so that its findings are reported together with
 * the validator's.
 */
export function checkRules(tree: SourceTree): Problem[] {
  return [
    ...alternatives.flatMap(([a, b]) => checkAlternatives(tree, a, b)),
    ...checkModel(tree),
    ...checkMemory(tree),
    ...checkSchedule(tree),
    ...checkMomentum(tree),
    ...checkLossScale(tree),
    ...checkParallel(tree),
    ...checkTensor(tree),
  ];
}

const given = (tree: SourceTree, path: Path): boolean => (valueAt(tree.root, path) ?? null) !== null;

const problemAt = (tree: SourceTree, path: Path, message: string): Problem => ({
  place: placeOf(tree, path, 'key'),
  message,
});

/** Of two given at once, an override wins over the file; otherwise it is a mistake. */
function checkAlternatives(tree: SourceTree, a: Path, b: Path): Problem[] {
  if (!given(tree, a) || !given(tree, b)) return [];
  const fromOverride = [a, b].filter((path) => isOverride(placeOf(tree, path, 'value')));
  if (fromOverride.length === 1) {
    const loser = fromOverride[0] === a ? b : a;
    drop(tree, loser);
    return [];
  }
  const other = placeOf(tree, a, 'key');
  const where = other === undefined ? '' : ` (${formatPlace(other)})`;
  return [problemAt(tree, b, `${formatPath(b)} and ${formatPath(a)}${where} are both given; give one of them`)];
}

function drop(tree: SourceTree, path: Path): void {
  const holder = valueAt(tree.root, path.slice(0, -1));
  if (isPlainObject(holder)) delete holder[String(path.at(-1))];
  tree.keyPlaces.delete(pathKey(path));
  tree.valuePlaces.delete(pathKey(path));
}

function checkModel(tree: SourceTree): Problem[] {
  const model = tree.root.model;
  const { schema } = peel(modelSchema);
  if (!isPlainObject(model) || !(schema instanceof z.ZodUnion)) return [];
  const marks = branches(schema).map(markOf);
  const present = marks.filter((mark) => Object.hasOwn(model, mark));
  if (present.length <= 1) return [];
  return [
    problemAt(
      tree,
      ['model', present[1]!],
      `model: ${present.join(' and ')} are both given; give one of ${marks.join(', ')}`,
    ),
  ];
}

function checkMemory(tree: SourceTree): Problem[] {
  const problems: Problem[] = [];
  const nvme = valueAt(tree.root, ['memory', 'nvme']);
  const paths = isPlainObject(nvme) ? (nvme.path ?? nvme.paths) : undefined;
  const hasPaths = paths !== undefined && !(Array.isArray(paths) && paths.length === 0);
  if (isPlainObject(nvme) && !hasPaths) {
    problems.push(
      problemAt(tree, ['memory', 'nvme'], 'memory.nvme.path is missing: expected a folder on a local disk'),
    );
  }
  if (valueAt(tree.root, ['memory', 'activations']) === 'nvme' && !given(tree, ['memory', 'nvme'])) {
    problems.push(problemAt(tree, ['memory', 'activations'], 'memory.activations: nvme needs memory.nvme.path'));
  }
  return problems;
}

function checkSchedule(tree: SourceTree): Problem[] {
  const steps = valueAt(tree.root, ['train', 'steps']);
  const warmup = valueAt(tree.root, ['schedule', 'warmupSteps']);
  if (typeof steps !== 'number' || typeof warmup !== 'number' || warmup <= steps) return [];
  return [problemAt(tree, ['schedule', 'warmupSteps'], `schedule.warmupSteps ${warmup} exceeds train.steps ${steps}`)];
}

function checkMomentum(tree: SourceTree): Problem[] {
  const path: Path = ['optimizer', 'nesterov'];
  if (valueAt(tree.root, path) !== true || valueAt(tree.root, ['optimizer', 'momentum']) !== 0) return [];
  return [problemAt(tree, path, 'optimizer.nesterov needs optimizer.momentum > 0')];
}

/** A scale that nothing would use, and bounds that exclude the start, are mistakes. A resolved section says its defaults. */
function checkLossScale(tree: SourceTree): Problem[] {
  const section = tree.root.lossScale;
  if (!isPlainObject(section)) return [];
  const { shape } = peel(lossScaleSchema).schema as z.ZodObject;
  const defaultOf = (name: string): unknown => peel(shape[name] as z.ZodType).defaultValue;
  const said = Object.keys(shape).filter((name) => Object.hasOwn(section, name) && section[name] !== defaultOf(name));
  if (said.length === 0) return [];
  const problem = (name: string, message: string): Problem[] => [problemAt(tree, ['lossScale', name], message)];
  if (tree.root.precision !== 'fp16') return problem(said[0]!, `lossScale.${said[0]} needs precision: fp16`);
  const moving = said.find((name) => name !== 'constant');
  if (moving === undefined) return [];
  if (said.includes('constant')) {
    return problem(moving, `lossScale.${moving} says how the scale moves, and lossScale.constant that it does not`);
  }
  const chosen = (name: string): unknown => section[name] ?? defaultOf(name);
  const [minimum, initial, maximum] = ['minimum', 'initial', 'maximum'].map(chosen) as [number, number, number];
  if (![minimum, initial, maximum].every((value) => typeof value === 'number')) return [];
  if (minimum <= initial && initial <= maximum) return [];
  return problem(moving, `lossScale: initial ${initial} is not between minimum ${minimum} and maximum ${maximum}`);
}

function checkParallel(tree: SourceTree): Problem[] {
  const path: Path = ['parallel', 'sp'];
  const sp = valueAt(tree.root, path);
  const length = valueAt(tree.root, ['data', 'sequenceLength']);
  if (!Number.isSafeInteger(sp) || !Number.isSafeInteger(length) || Number(sp) < 1) return [];
  const mode = valueAt(tree.root, ['parallel', 'sequence']) ?? 'ring';
  const runs = mode === 'ring' ? 2 * Number(sp) : Number(sp);
  const rest = Number(length) % runs;
  if (Number(sp) === 1 || rest === 0) return [];
  const message = `parallel.sp: ${sp} ranks by ${mode} cut sequences into ${runs} runs, and data.sequenceLength ${length} % ${runs} = ${rest}`;
  return [problemAt(tree, path, message)];
}
