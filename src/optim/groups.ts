/** Parameter groups: which parameters are updated with which numbers. */
import { TierraError } from '../core/errors.ts';
import { unmatchedRule } from './groupErrors.ts';
import { checkRange, type HyperParameters, type Optimizer } from './optimizer.ts';

export interface NamedShape {
  readonly name: string;
  readonly shape: readonly number[];
  /** False puts the parameter into a frozen group whatever the rules say. */
  readonly trainable?: boolean;
}

/** Settings for the parameters whose name `match` finds; null or absent takes the optimizer's. */
export interface GroupRule {
  readonly match: string | RegExp;
  readonly learningRate?: number | null;
  readonly weightDecay?: number | null;
  readonly frozen?: boolean;
}

export interface GroupOptions {
  /** The first rule that matches a name wins. */
  readonly groups?: readonly GroupRule[];
  /** Decay parameters of fewer than two dimensions (norms, biases) like all others. */
  readonly decayNormsAndBiases?: boolean;
}

export interface GroupSettings {
  readonly label: string;
  readonly rule: Optimizer['rule'];
  readonly hyperParameters: HyperParameters;
  /** Not updated, and without optimizer state. */
  readonly frozen: boolean;
  /** In the order they were given in. */
  readonly parameters: readonly string[];
}

export interface ParameterGroups {
  readonly groups: readonly GroupSettings[];
  /** Position in `groups`, by parameter name. */
  readonly groupOf: ReadonlyMap<string, number>;
}

/**
 * Puts every parameter into exactly one group. Weight decay spares parameters of fewer than two dimensions unless
 * `decayNormsAndBiases` is set or a rule that matches them states a `weightDecay`. Groups come in a fixed order: decayed,
 * not decayed, then the rules' in theirs, frozen last; empty ones are left out.
 *
 * Throws `E_CONFIG` when a rule matches no parameter, and `E_ARGUMENT` when two parameters share a name.
 */
export function groupParameters(
  named: readonly NamedShape[],
  optimizer: Optimizer,
  options: GroupOptions = {},
): ParameterGroups {
  const rules = (options.groups ?? []).map((rule, index) => compile(rule, index));
  const drafts = new Map<string, Draft>();
  const draftOf = new Map<string, Draft>();
  for (const parameter of named) {
    if (draftOf.has(parameter.name)) {
      throw new TierraError('E_ARGUMENT', `two parameters are called ${parameter.name}`);
    }
    const rule = rules.find((candidate) => candidate.pattern.test(parameter.name));
    if (rule !== undefined) rule.used = true;
    const draft = place(parameter, rule, optimizer, options.decayNormsAndBiases ?? false);
    const shared = drafts.get(draft.key) ?? draft;
    drafts.set(draft.key, shared);
    shared.parameters.push(parameter.name);
    draftOf.set(parameter.name, shared);
  }
  const idle = rules.find((rule) => !rule.used);
  if (idle !== undefined) throw unmatchedRule(idle, rules, named);

  const ordered = [...drafts.values()].sort((a, b) => a.order - b.order);
  const groups = ordered.map(({ label, hyperParameters, frozen, parameters }) => {
    return { label, rule: optimizer.rule, hyperParameters, frozen, parameters };
  });
  const position = new Map(ordered.map((draft, index) => [draft, index]));
  const groupOf = new Map([...draftOf].map(([name, draft]) => [name, position.get(draft)!]));
  return { groups, groupOf };
}

export interface CompiledRule {
  readonly index: number;
  readonly rule: GroupRule;
  readonly pattern: RegExp;
  used: boolean;
}

interface Draft {
  readonly key: string;
  readonly order: number;
  readonly label: string;
  readonly hyperParameters: HyperParameters;
  readonly frozen: boolean;
  readonly parameters: string[];
}

function compile(rule: GroupRule, index: number): CompiledRule {
  const where = `optimizer.groups[${index}]`;
  if (rule.learningRate != null) checkRange(`${where}.learningRate`, rule.learningRate);
  if (rule.weightDecay != null) checkRange(`${where}.weightDecay`, rule.weightDecay);
  try {
    // Without its flags g and y: those make a pattern remember where it stopped.
    const flags = typeof rule.match === 'string' ? '' : rule.match.flags.replace(/[gy]/g, '');
    return { index, rule, pattern: new RegExp(rule.match, flags), used: false };
  } catch (cause) {
    throw new TierraError('E_CONFIG', `${where}.match is not a regular expression: ${(cause as Error).message}`, {
      cause,
    });
  }
}

function place(
  parameter: NamedShape,
  compiled: CompiledRule | undefined,
  optimizer: Optimizer,
  decayAll: boolean,
): Draft {
  const { defaults } = optimizer;
  const rule = compiled?.rule;
  if (parameter.trainable === false || rule?.frozen === true) {
    const hyperParameters = { ...defaults, learningRate: 0, weightDecay: 0 };
    return {
      key: 'frozen',
      order: Number.MAX_SAFE_INTEGER,
      label: 'frozen',
      hyperParameters,
      frozen: true,
      parameters: [],
    };
  }
  const stated = rule?.weightDecay ?? null;
  const decays = stated !== null || decayAll || parameter.shape.length >= 2;
  const hyperParameters = {
    ...defaults,
    learningRate: rule?.learningRate ?? defaults.learningRate,
    weightDecay: decays ? (stated ?? defaults.weightDecay) : 0,
  };
  const order = (compiled === undefined ? 0 : 2 * (compiled.index + 1)) + (decays ? 0 : 1);
  const base = compiled === undefined ? 'default' : String(compiled.pattern);
  const label = decays ? base : `${base}, no decay`;
  return { key: String(order), order, label, hyperParameters, frozen: false, parameters: [] };
}
