import { z } from 'zod';
import { diagnose } from './diagnose.ts';
import { type Origin, originsOf } from './origins.ts';
import { applyOverrides, type OverrideInput } from './overrides.ts';
import { copyPlain } from './plainTree.ts';
import { problemsError } from './problems.ts';
import { checkRules } from './rules.ts';
import { type ConfigInput, configSchema, type ParsedConfig } from './schema/index.ts';
import { peel } from './schemaWalk.ts';
import type { SourceTree } from './tree.ts';

/** The fully resolved configuration: every default filled in, sizes in bytes, paths as lists. */
export type Config = Omit<ParsedConfig, 'train' | 'sample'> & {
  readonly train: Omit<ParsedConfig['train'], 'output'> & { readonly output: string };
  readonly sample: Omit<ParsedConfig['sample'], 'seed'> & { readonly seed: number };
};

export interface ResolvedConfig {
  readonly config: Config;
  /** One entry per leaf, in the order of the schema. */
  readonly origins: readonly Origin[];
}

/**
 * Validates a configuration given by a program and fills in the defaults. A resolved configuration resolves to itself.
 * Throws `E_CONFIG` with every problem at once; `E_UNSUPPORTED` when all is legal but this build cannot do it.
 */
export function resolveConfig(input: ConfigInput, overrides: readonly OverrideInput[] = []): Config {
  const tree = copyPlain(input, 'config');
  applyOverrides(tree, overrides);
  return resolveTree(tree, 'config').config;
}

/** Validates plain values with known places and fills in the defaults. */
export function resolveTree(tree: SourceTree, source: string): ResolvedConfig {
  dropEmptySections(tree);
  const ruleProblems = checkRules(tree);
  const parsed = configSchema.safeParse(tree.root);
  const problems = [...ruleProblems];
  if (!parsed.success) {
    const modelKnown = ruleProblems.some((problem) => problem.message.startsWith('model:'));
    const issues = modelKnown ? parsed.error.issues.filter((issue) => issue.path[0] !== 'model') : parsed.error.issues;
    problems.push(...diagnose(tree, issues));
  }
  if (problems.length > 0 || !parsed.success) {
    throw problemsError(source, problems, 'docs/config.md lists every key with its type and default.');
  }
  const config = fillDependent(parsed.data);
  return { config, origins: originsOf(config, tree) };
}

/** A section whose fields are all commented out reads as null: it counts as not given. */
function dropEmptySections(tree: SourceTree): void {
  for (const [name, section] of Object.entries(configSchema.shape)) {
    const { schema, nullable } = peel(section);
    if (schema instanceof z.ZodObject && !nullable && tree.root[name] === null) delete tree.root[name];
  }
}

/** The share of a run that is warm-up when nothing is said: one-cycle rises over three tenths of it by design. */
const usualWarmup = (name: ParsedConfig['schedule']['name']): number => (name === 'onecycle' ? 0.3 : 0.05);

/** Defaults that depend on other values. */
function fillDependent(parsed: ParsedConfig): Config {
  const { data, train, schedule, sample } = parsed;
  const noLength = train.steps === null && train.epochs === null;
  const noWarmup = schedule.warmupSteps === null && schedule.warmupFraction === null;
  return {
    ...parsed,
    data: { ...data, chatTemplate: data.chatTemplate ?? (data.format === 'chat' ? 'chatml' : null) },
    train: { ...train, epochs: noLength ? 1 : train.epochs, output: train.output ?? `runs/${parsed.name}` },
    schedule: { ...schedule, warmupFraction: noWarmup ? usualWarmup(schedule.name) : schedule.warmupFraction },
    sample: { ...sample, seed: sample.seed ?? parsed.seed },
  };
}
