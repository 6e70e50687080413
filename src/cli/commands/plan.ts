import { writeFileSync } from 'node:fs';
import type { Config, OverrideInput } from '../../config/index.ts';
import { withIo } from '../../core/files.ts';
import type { LinkFlags } from '../../dist/costs/index.ts';
import type { PlanRequest } from '../../engine/planEstimate.ts';
import type { MachineFlags } from '../../memory/index.ts';
import type { Output } from '../../telemetry/index.ts';
import { clusterText } from '../clusterText.ts';
import type { Arguments, Command, Option } from '../command.ts';
import { loadBestMesh, loadCluster, loadLargest, loadPlanning } from '../engine.ts';
import { numberFlag } from '../hostOptions.ts';
import { meshText } from '../meshText.ts';
import { deviceOption, setOption } from '../options.ts';
import { loadConfiguration, overridesFrom } from '../overrides.ts';
import { largestText, planText } from '../planText.ts';
import { UsageError } from '../usageError.ts';

/** Flags that describe another machine than this one. Sizes go through the configuration's schema: they are its budgets. */
const sizes = {
  'gpu-memory': { describe: 'Memory of its GPU to use, such as 24GiB', field: 'memory.gpu', text: true },
  cpu: { describe: 'Host memory to use, such as 128GiB', field: 'memory.cpu', text: true },
  nvme: { describe: 'Disk space to use, such as 2TB', field: 'memory.nvme.size', text: true },
} as const satisfies Record<string, Option>;

const rates = {
  pcie: { describe: 'GB/s between GPU and host, each way' },
  'disk-read': { describe: 'GB/s read from its disks' },
  'disk-write': { describe: 'GB/s written to its disks' },
  dram: { describe: 'GB/s of host memory' },
  tflops: { describe: 'TFLOP/s of matrix multiplication that it sustains' },
} as const satisfies Record<string, Option>;

/** The ranks that train together, and what connects them. */
const links = {
  ranks: { describe: 'GPUs in all, one rank each; without it, what parallel: multiplies to' },
  'per-node': { describe: 'GPUs in one node; 8 without it' },
  'node-link': { describe: 'GB/s into one GPU from others of its node' },
  network: { describe: 'GB/s into one GPU from other nodes' },
} as const satisfies Record<string, Option>;

export const planCommand: Command = {
  name: ['plan'],
  describe: 'Tell whether a model fits and how fast it would train, before anything is loaded',
  positionals: ['config'],
  options: {
    ...sizes,
    ...rates,
    ...links,
    'best-mesh': { describe: 'Find the fastest way to divide the model among --ranks GPUs, and plan that', bare: true },
    largest: { describe: 'Find the deepest model of this shape that fits, and plan that', bare: true },
    json: { describe: 'Print the summary as JSON', bare: true },
    out: { describe: 'Write the whole plan, as JSON, to this file' },
    measure: { describe: 'Measure this machine again', bare: true },
    device: deviceOption,
    set: setOption,
  },
  async run(args, { stdout }) {
    const described = machineFlags(args);
    const config = await configFor(args);
    const request = { described, measure: args.flags.has('measure') };
    const ranks = ranksOf(args, config);
    if (ranks > 1 || args.flags.has('best-mesh'))
      return await forRanks(args, config, request, linkFlags(args, ranks), stdout);
    const largest = args.flags.has('largest') ? await (await loadLargest())(config, request) : null;
    const { summary, plan } = largest ?? (await (await loadPlanning())(config, request));
    const file = args.flags.get('out')?.[0];
    if (file !== undefined) withIo('write', file, () => writeFileSync(file, `${JSON.stringify(plan)}\n`));
    if (args.flags.has('json')) {
      const { field, layers, refused } = largest ?? {};
      const found = largest === null ? {} : { largest: { field, layers, refused } };
      stdout.write(`${JSON.stringify({ ...summary, ...found }, null, 2)}\n`);
    } else stdout.write(`${largest === null ? '' : largestText(largest)}${planText(summary)}`);
    return 0;
  },
};

async function forRanks(
  args: Arguments,
  config: Config,
  request: PlanRequest,
  flags: LinkFlags,
  stdout: Output,
): Promise<number> {
  if (args.flags.has('largest')) {
    throw new UsageError('plan: --largest answers for one rank', 'Leave it out, or leave out --ranks and parallel:.');
  }
  const isSearch = args.flags.has('best-mesh');
  const proposed = isSearch ? await (await loadBestMesh()).planBestMesh(config, request, flags) : null;
  const { summary, plans } = proposed?.planned ?? (await (await loadCluster()).planCluster(config, request, flags));
  const file = args.flags.get('out')?.[0];
  if (file !== undefined) withIo('write', file, () => writeFileSync(file, `${JSON.stringify(plans)}\n`));
  if (args.flags.has('json')) {
    const { planned: _, ...proposal } = proposed ?? { planned: null };
    const all = proposed === null ? summary : { ...summary, proposal };
    stdout.write(`${JSON.stringify(all, null, 2)}\n`);
  } else stdout.write(`${proposed === null ? '' : meshText(proposed, flags.ranks)}${clusterText(summary)}`);
  return 0;
}

/** As many as the flag says, or as the degrees multiply to; dp: auto takes what there is. */
function ranksOf(args: Arguments, { parallel }: Config): number {
  const { dp, pp, tp, sp, ep } = parallel;
  return numberFlag(args, 'ranks', 1) ?? (dp === 'auto' ? 1 : dp) * pp * tp * sp * ep;
}

function linkFlags(args: Arguments, ranks: number): LinkFlags {
  const given = {
    gpusPerNode: numberFlag(args, 'per-node', 1) ?? undefined,
    nodeLink: rateOf(args, 'node-link', links['node-link'].describe),
    network: rateOf(args, 'network', links.network.describe),
  };
  return { ranks, ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) };
}

/** A description's number, with its unit or without. */
function rateOf({ flags }: Arguments, flag: string, describe: string): number | undefined {
  const typed = flags.get(flag)?.[0];
  if (typed === undefined) return undefined;
  const value = Number(typed.replace(/ ?(?:GB|TFLOP)\/s$/, ''));
  if (Number.isFinite(value) && value > 0) return value;
  throw new UsageError(`plan: --${flag}: expected a number > 0, got ${JSON.stringify(typed)}`, `${describe}.`);
}

/** A described machine's disk needs no folder. */
async function configFor(args: Arguments): Promise<Config> {
  const { loadConfig } = await loadConfiguration();
  const file = args.positionals[0]!;
  const overrides = await overridesFrom(planCommand, args);
  if (!args.flags.has('nvme')) return loadConfig(file, overrides);
  const withoutSize = overrides.filter(
    (given) => typeof given === 'string' || given.source.startsWith('--nvme ') === false,
  );
  const folder: OverrideInput = { source: '--nvme', path: ['memory', 'nvme', 'path'], value: '.' };
  const known = loadConfig(file, withoutSize).memory.nvme !== null;
  return loadConfig(file, known ? overrides : [...overrides, folder]);
}

/** What the flags say about the machine; null when they say nothing. */
function machineFlags(args: Arguments): MachineFlags | null {
  const { flags } = args;
  if (![...Object.keys(sizes), ...Object.keys(rates)].some((flag) => flags.has(flag))) return null;
  const size = (flag: keyof typeof sizes): string | undefined => flags.get(flag)?.[0];
  const rate = (flag: keyof typeof rates): number | undefined => rateOf(args, flag, rates[flag].describe);
  const given = {
    gpuMemory: size('gpu-memory'),
    cpuMemory: size('cpu'),
    nvme: size('nvme') ?? 0,
    pcie: rate('pcie'),
    diskRead: rate('disk-read'),
    diskWrite: rate('disk-write'),
    dram: rate('dram'),
    tflops: rate('tflops'),
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as MachineFlags;
}
