import { writeFileSync } from 'node:fs';
import { type Config, loadConfig, type OverrideInput } from '../../config/index.ts';
import { withIo } from '../../core/files.ts';
import type { MachineFlags } from '../../memory/index.ts';
import type { Arguments, Command, Option } from '../command.ts';
import { loadLargest, loadPlanning } from '../engine.ts';
import { deviceOption, setOption } from '../options.ts';
import { overridesFrom } from '../overrides.ts';
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

export const planCommand: Command = {
  name: ['plan'],
  describe: 'Tell whether a model fits and how fast it would train, before anything is loaded',
  positionals: ['config'],
  options: {
    ...sizes,
    ...rates,
    largest: { describe: 'Find the deepest model of this shape that fits, and plan that', bare: true },
    json: { describe: 'Print the summary as JSON', bare: true },
    out: { describe: 'Write the whole plan, as JSON, to this file' },
    measure: { describe: 'Measure this machine again', bare: true },
    device: deviceOption,
    set: setOption,
  },
  async run(args, { stdout }) {
    const described = machineFlags(args);
    const config = configFor(args);
    const request = { described, measure: args.flags.has('measure') };
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

/** A described machine's disk needs no folder. */
function configFor(args: Arguments): Config {
  const file = args.positionals[0]!;
  const overrides = overridesFrom(planCommand, args);
  if (!args.flags.has('nvme')) return loadConfig(file, overrides);
  const withoutSize = overrides.filter(
    (given) => typeof given === 'string' || given.source.startsWith('--nvme ') === false,
  );
  const folder: OverrideInput = { source: '--nvme', path: ['memory', 'nvme', 'path'], value: '.' };
  const known = loadConfig(file, withoutSize).memory.nvme !== null;
  return loadConfig(file, known ? overrides : [...overrides, folder]);
}

/** What the flags say about the machine; null when they say nothing. */
function machineFlags({ flags }: Arguments): MachineFlags | null {
  if (![...Object.keys(sizes), ...Object.keys(rates)].some((flag) => flags.has(flag))) return null;
  const size = (flag: keyof typeof sizes): string | undefined => flags.get(flag)?.[0];
  const rate = (flag: keyof typeof rates): number | undefined => {
    const typed = flags.get(flag)?.[0];
    if (typed === undefined) return undefined;
    const value = Number(typed);
    if (Number.isFinite(value) && value > 0) return value;
    throw new UsageError(
      `plan: --${flag}: expected a number > 0, got ${JSON.stringify(typed)}`,
      `${rates[flag].describe}.`,
    );
  };
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
