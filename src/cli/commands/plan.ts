import { writeFileSync } from 'node:fs';
import { type Config, loadConfig, type OverrideInput } from '../../config/index.ts';
import { withIo } from '../../core/files.ts';
import type { MachineFlags } from '../../memory/index.ts';
import type { Arguments, Command, Option } from '../command.ts';
import { loadPlanning } from '../engine.ts';
import { deviceOption, setOption } from '../options.ts';
import { overridesFrom } from '../overrides.ts';
import { planText } from '../planText.ts';
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
    json: { describe: 'Print the summary as JSON', bare: true },
    out: { describe: 'Write the whole plan, as JSON, to this file' },
    measure: { describe: 'Measure this machine again', bare: true },
    device: deviceOption,
    set: setOption,
  },
  async run(args, { stdout }) {
    const described = machineFlags(args);
    const config = configFor(args);
    const runPlanning = await loadPlanning();
    const { summary, plan } = await runPlanning(config, { described, measure: args.flags.has('measure') });
    const file = args.flags.get('out')?.[0];
    if (file !== undefined) withIo('write', file, () => writeFileSync(file, `${JSON.stringify(plan)}\n`));
    stdout.write(args.flags.has('json') ? `${JSON.stringify(summary, null, 2)}\n` : planText(summary));
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
