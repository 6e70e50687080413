import { formatBytes } from '../../core/units.ts';
import { type ExportOptions, exportTypes, exportWeights, oneCheckpoint } from '../../engine/checkpoint/index.ts';
import type { Command } from '../command.ts';
import { UsageError } from '../usageError.ts';

export const checkpointExportCommand: Command = {
  name: ['checkpoint', 'export'],
  describe: 'Write the weights of one as a Hugging Face folder',
  positionals: ['checkpoint', 'folder'],
  options: {
    dtype: {
      describe: 'Element type of the weights: fp32 (from the master weights where there are any) or bf16',
      text: true,
    },
  },
  async run(args, { stdout }) {
    const [location, target] = args.positionals as [string, string];
    const options = optionsFrom(args.flags.get('dtype')?.[0]);
    const checkpoint = await oneCheckpoint(location);
    const { bytes, tensors, masters } = await exportWeights(checkpoint, target, options);
    const exact = masters > 0 ? `, ${masters} of them from the master weights` : '';
    stdout.write(`${checkpoint}: ${tensors} tensors (${formatBytes(bytes)}) written to ${target}${exact}\n`);
    return 0;
  },
};

function optionsFrom(dtype: string | undefined): ExportOptions {
  if (dtype === undefined) return {};
  if (Object.hasOwn(exportTypes, dtype)) return { dtype: dtype as keyof typeof exportTypes };
  const known = Object.keys(exportTypes).join(' or ');
  throw new UsageError(
    `checkpoint export: --dtype: expected ${known}, got ${JSON.stringify(dtype)}`,
    'Leave it out to keep the type they were trained in.',
  );
}
