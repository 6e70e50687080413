/** The answer of `tierra plan` for people. */
import { formatBytes, formatCount, formatSeconds } from '../core/units.ts';
import type { Largest } from '../engine/planLargest.ts';
import type { PlanSummary, TierSummary } from '../engine/planSummary.ts';
import { dtypeNames, limits, machineLine, percent, plural, table, tierWord, tokenRate } from './planWords.ts';

type TierName = keyof PlanSummary['tiers'];
const tierNames: readonly TierName[] = ['gpu', 'host', 'nvme'];

/** What computing waits for, in words. */
const causes: Readonly<Record<string, string>> = {
  fetch: 'parameters on their way to the GPU',
  gradient: 'gradients leaving the GPU',
  accumulate: 'gradients being summed on the host',
  park: 'gradients moving to and from disk',
  state: 'optimizer states from and to disk',
  update: 'the optimizer on the host',
  preview: 'new parameters made ahead of their states on the host',
  home: 'updated parameters going to disk',
};

const lanes = [
  ['toDevice', 'host to GPU'],
  ['toHost', 'GPU to host'],
  ['read', 'read from disk'],
  ['write', 'written to disk'],
] as const;

/** What stands above the plan of the largest model. */
export function largestText({ field, layers, summary, refused }: Largest): string {
  const found = `The largest model of this shape that fits has ${plural(layers, 'layer')} (${field}: ${layers}), ${formatCount(summary.model.parameters)} parameters.`;
  const beyond =
    refused === null
      ? ''
      : `\n${plural(refused.layers, 'layer')}, ${formatCount(refused.parameters)}, would be refused: ${refused.reason}.`;
  return `${found}${beyond}\n\n`;
}

/** Whole text, ending in a newline. */
export function planText(summary: PlanSummary): string {
  const parts = [
    headline(summary),
    table('Memory', memoryRows(summary)),
    table('What lives where', placeRows(summary)),
    table(`A step of ${formatSeconds(summary.stepSeconds)}`, timeRows(summary)),
    table('Moved in a step', movedRows(summary)),
    machineLine(summary),
    ...summary.notes.map((note) => `Note: ${note}`),
  ];
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`;
}

function headline({ model, step, stepSeconds, tokensPerSecond, limiter }: PlanSummary): string {
  const batch = `${plural(step.sequences, 'sequence')} of ${step.sequenceLength} tokens`;
  const micro = step.microBatches > 1 ? `${step.microBatches} micro-batches of ${batch}` : batch;
  const how = { keep: 'kept', recompute: 'recomputed', host: 'parked in host memory', nvme: 'parked on disk' }[
    step.activations
  ];
  return [
    `${model.family}, ${formatCount(model.parameters)} parameters in ${plural(model.layers, 'layer')}, ${dtypeNames[step.dtype]}`,
    `${micro} a step, activations ${how}`,
    '',
    `It fits: ${formatSeconds(stepSeconds)} a step, ${tokenRate(tokensPerSecond)} tokens/s, limited by ${limits[limiter]}.`,
  ].join('\n');
}

function memoryRows({ tiers }: PlanSummary): string[][] {
  const rows = shown(tiers).map((tier) => {
    const { budgetBytes, restBytes, peakBytes } = tiers[tier];
    return [
      tierWord(tier),
      formatBytes(budgetBytes),
      formatBytes(restBytes),
      formatBytes(peakBytes),
      percent(peakBytes, budgetBytes),
    ];
  });
  return [['', 'budget', 'at rest', 'at peak', 'of budget'], ...rows];
}

function placeRows({ tiers }: PlanSummary): string[][] {
  const kinds: readonly (readonly [string, keyof TierSummary])[] = [
    ['parameters', 'parameterBytes'],
    ['optimizer states', 'stateBytes'],
    ['gradients', 'gradientBytes'],
    ['activations, work', 'activationBytes'],
    ['buffers', 'bufferBytes'],
  ];
  const columns = shown(tiers);
  const rows = kinds.map(([name, field]) => {
    const total = columns.reduce((sum, tier) => sum + tiers[tier][field], 0);
    const cells = columns.map((tier) => {
      const bytes = tiers[tier][field];
      return bytes === 0 ? '-' : `${formatBytes(bytes)} ${percent(bytes, total).padStart(4)}`;
    });
    return total === 0 ? [] : [name, formatBytes(total), ...cells];
  });
  return [['', 'total', ...columns.map(tierWord)], ...rows.filter((row) => row.length > 0)];
}

function timeRows({ stepSeconds, computeSeconds, stallSeconds, bound }: PlanSummary): string[][] {
  const waits = Object.entries(stallSeconds)
    .filter(([, seconds]) => seconds >= stepSeconds / 200)
    .sort(([, a], [, b]) => b - a);
  return [
    ['computing', formatSeconds(computeSeconds), percent(computeSeconds, stepSeconds)],
    ...waits.map(([cause, seconds]) => [
      `waiting for ${causes[cause]}`,
      formatSeconds(seconds),
      percent(seconds, stepSeconds),
    ]),
    [`at best, by ${limits[bound.by]}`, formatSeconds(bound.seconds), percent(bound.seconds, stepSeconds)],
  ];
}

function movedRows({ movedBytes, busySeconds, stepSeconds }: PlanSummary): string[][] {
  const rows = lanes
    .filter(([lane]) => movedBytes[lane] > 0)
    .map(([lane, name]) => [name, formatBytes(movedBytes[lane]), `${percent(busySeconds[lane], stepSeconds)} busy`]);
  if (rows.length === 0) return [];
  const update =
    busySeconds.update > 0 ? [['optimizer on the host', '', `${percent(busySeconds.update, stepSeconds)} busy`]] : [];
  const perDay = (movedBytes.write / stepSeconds) * 86_400;
  const wear = movedBytes.write > 0 ? [['disk wear at this pace', `${formatBytes(perDay)} a day`]] : [];
  return [...rows, ...update, ...wear];
}

const shown = (tiers: PlanSummary['tiers']): TierName[] =>
  tierNames.filter(
    (tier) => tier === 'gpu' || tiers[tier].peakBytes > 0 || (tier === 'nvme' && tiers[tier].budgetBytes > 0),
  );
