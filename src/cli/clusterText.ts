/** The answer of `tierra plan` for several ranks. */
import { formatBytes, formatCount, formatSeconds } from '../core/units.ts';
import type { ClusterSummary, RankSummary } from '../engine/planCluster.ts';
import type { Traffic } from '../engine/planTraffic.ts';
import { dtypeNames, limits, machineLine, percent, plural, table, tierWord, tokenRate } from './planWords.ts';

type Tier = 'gpu' | 'host' | 'nvme';
const tiers: readonly Tier[] = ['gpu', 'host', 'nvme'];

const activations: Readonly<Record<string, string>> = {
  keep: 'kept',
  recompute: 'recomputed',
  host: 'parked in host memory',
  nvme: 'parked on disk',
};

const words: Readonly<Record<Traffic['what'], string>> = {
  activations: 'sums of activations and their gradients',
  blocks: 'blocks of activations, weights and their gradients',
  'stage edges': 'activations and gradients at the edges of stages',
  'tied gradients': 'gradients of tied parameters',
  parameters: 'parameters gathered',
  gradients: 'gradients summed',
  'keys and values': 'keys and values around the ring, and gradients with them',
  'gradients of keys and values': 'gradients of keys and values summed',
  heads: 'tokens for heads and back',
  loss: 'losses of a sequence',
  rows: 'rows to experts and back, and their gradients',
  'row counts': 'how many rows come',
  loads: 'loads of experts',
  'expert parameters': 'parameters of experts gathered',
  'expert gradients': 'gradients of experts summed',
  norms: 'norms of all parts',
  'shard norms': 'norms',
  'expert norms': 'norms of experts',
};

/** Whole text, ending in a newline. */
export function clusterText(summary: ClusterSummary): string {
  const { parts, notes } = summary;
  const sections = [
    headline(summary),
    table(`Memory of each rank`, memoryRows(parts)),
    table('What lives where, on each rank', placeRows(parts)),
    table('Received by each rank in a step', trafficRows(summary)),
    layerText(summary),
    table(`A step of ${formatSeconds(summary.time.stepSeconds)}`, timeRows(summary)),
    `${machineLine(parts[0]!.summary)}\n  ${linksLine(summary)}`,
    ...notes.map((note) => `Note: ${note}`),
  ];
  return `${sections.filter((section) => section !== '').join('\n\n')}\n`;
}

function headline({ parts, ranks, mesh, zero, schedule, time, tokensPerSecond, tokens }: ClusterSummary): string {
  const { model, step } = parts[0]!.summary;
  const batch = `${plural(step.sequences, 'sequence')} of ${step.sequenceLength} tokens`;
  const micro = step.microBatches > 1 ? `${step.microBatches} micro-batches of ${batch}` : batch;
  const how = [mesh, ...(zero > 0 ? [`ZeRO ${zero}`] : []), ...(schedule === null ? [] : [schedule])].join(', ');
  const limit = time.limiter in limits ? limits[time.limiter as keyof typeof limits] : time.limiter;
  return [
    `${model.family}, ${formatCount(model.parameters)} parameters in ${plural(model.layers, 'layer')}, ${dtypeNames[step.dtype]}`,
    `${plural(ranks, 'rank')}: ${how}`,
    `${micro} a step over all ranks (${formatCount(tokens)} tokens), activations ${activations[step.activations]}`,
    '',
    `It fits: ${formatSeconds(time.stepSeconds)} a step, ${tokenRate(tokensPerSecond)} tokens/s, limited by ${limit}.`,
  ].join('\n');
}

const placeName = ({ pp }: RankSummary, parts: readonly RankSummary[]): string =>
  parts.length === 1 ? 'all' : `pp ${pp}`;

const shownTiers = (parts: readonly RankSummary[]): Tier[] =>
  tiers.filter((tier) => tier === 'gpu' || parts.some(({ summary }) => summary.tiers[tier].peakBytes > 0));

function memoryRows(parts: readonly RankSummary[]): string[][] {
  const rows = parts.flatMap((part) =>
    shownTiers(parts).map((tier, index) => {
      const { budgetBytes, restBytes, peakBytes } = part.summary.tiers[tier];
      return [
        index === 0 ? placeName(part, parts) : '',
        tierWord(tier),
        ...[budgetBytes, restBytes, peakBytes].map(formatBytes),
        percent(peakBytes, budgetBytes),
        index === 0 && parts.length > 1 ? part.units : '',
      ];
    }),
  );
  return [['', '', 'budget', 'at rest', 'at peak', 'of budget', parts.length > 1 ? 'units' : ''], ...rows];
}

function placeRows(parts: readonly RankSummary[]): string[][] {
  const kinds = [
    ['parameters', 'parameterBytes'],
    ['optimizer states', 'stateBytes'],
    ['gradients', 'gradientBytes'],
    ['activations, work', 'activationBytes'],
    ['buffers', 'bufferBytes'],
  ] as const;
  const sum = ({ summary }: RankSummary, field: (typeof kinds)[number][1]): number =>
    tiers.reduce((all, tier) => all + summary.tiers[tier][field], 0);
  const rows = kinds.map(([name, field]) => [name, ...parts.map((part) => formatBytes(sum(part, field)))]);
  const gathered = parts.some(({ gatheredBytes }) => gatheredBytes > 0)
    ? [['  of it whole, for all ranks', ...parts.map(({ gatheredBytes }) => formatBytes(gatheredBytes))]]
    : [];
  return [['', ...parts.map((part) => placeName(part, parts))], ...rows.slice(0, 4), ...gathered, ...rows.slice(4)];
}

function trafficRows({ parts }: ClusterSummary): string[][] {
  const keys = new Map<string, Traffic>();
  for (const { traffic } of parts) for (const each of traffic) keys.set(each.what, each);
  const rows = [...keys.values()].map(({ along, what }) => [
    `${along.join(' x ')}: ${words[what]}`,
    ...parts.map(({ traffic }) => {
      const found = traffic.find((each) => each.what === what);
      return found === undefined ? '-' : formatBytes(found.bytes);
    }),
  ]);
  return rows.length === 0 ? [] : [['', ...parts.map((part) => placeName(part, parts))], ...rows];
}

/** One block in a sentence. */
function layerText({ layer }: ClusterSummary): string {
  if (layer === null) return '';
  const { tensorBytes, sequenceBytes, expertBytes, gatherBytes, reduceBytes } = layer;
  const said = [
    ...(tensorBytes > 0 ? [`${formatBytes(tensorBytes)} for each micro-batch from its tensor group`] : []),
    ...(sequenceBytes > 0 ? [`${formatBytes(sequenceBytes)} from those that share its sequences`] : []),
    ...(expertBytes > 0 ? [`${formatBytes(expertBytes)} on the way to experts and back`] : []),
    ...(gatherBytes > 0 ? [`${formatBytes(gatherBytes)} each time its parameters are gathered`] : []),
    ...(reduceBytes > 0 ? [`${formatBytes(reduceBytes)} each time its gradients are summed over data ranks`] : []),
  ];
  return said.length === 0 ? '' : `Of one layer a rank receives ${said.join(', ')}.`;
}

function timeRows({ time, parts, degrees }: ClusterSummary): string[][] {
  const { stepSeconds } = time;
  const inBlocks = parts.some(({ traffic }) => traffic.some(({ what }) => what === 'blocks'));
  const row = (name: string, seconds: number): string[][] =>
    seconds >= stepSeconds / 200 ? [[name, formatSeconds(seconds), percent(seconds, stepSeconds)]] : [];
  const bubble = `the pipeline's bubble (${(100 * time.bubbleShare).toFixed(1)}% of all ranks' time on its clock)`;
  return [
    ['computing', formatSeconds(time.computeSeconds), percent(time.computeSeconds, stepSeconds)],
    ...row(`waiting for tiers and the optimizer`, time.tierSeconds),
    ...row(`${inBlocks ? 'blocks' : 'sums'} in tensor groups of ${degrees.tp}`, time.tensorSeconds),
    ...row(`sequences shared by ${degrees.sp}, not hidden by computing`, time.sequenceSeconds),
    ...row(`rows on their way to experts on ${degrees.ep} ranks and back`, time.expertSeconds),
    ...row('data ranks, not hidden by computing', time.dataSeconds),
    ...(parts.length > 1
      ? [[bubble, formatSeconds(time.bubbleSeconds), percent(time.bubbleSeconds, stepSeconds)]]
      : []),
  ];
}

function linksLine({ links }: ClusterSummary): string {
  const rate = (bytes: number): string => `${Number((bytes / 1e9).toPrecision(3))} GB/s`;
  const { gpus, gpusPerNode, nodeBandwidth, networkBandwidth } = links;
  const inside = gpusPerNode > 1 ? [`${rate(nodeBandwidth)} into each GPU from its node of ${gpusPerNode}`] : [];
  const between = gpus > gpusPerNode ? [`${rate(networkBandwidth)} from other nodes`] : [];
  return [...inside, ...between].join(', ');
}
