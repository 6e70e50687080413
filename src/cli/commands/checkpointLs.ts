import { formatBytes } from '../../core/units.ts';
import {
  type CheckpointListing,
  listCheckpoints,
  locateCheckpoints,
  manifestBytes,
} from '../../engine/checkpoint/index.ts';
import { lossText } from '../../telemetry/words.ts';
import type { Command } from '../command.ts';
import { alignColumns } from '../table.ts';

export const checkpointLsCommand: Command = {
  name: ['checkpoint', 'ls'],
  describe: 'List checkpoints',
  positionals: ['run'],
  options: { json: { describe: 'Print the list as JSON', bare: true } },
  async run(args, { stdout }) {
    const { output, checkpoint } = locateCheckpoints(args.positionals[0]!);
    const all = output === null ? [] : listCheckpoints(output);
    const listed = checkpoint === null ? all : all.filter(({ path }) => path.endsWith(checkpoint.split('/').at(-1)!));
    if (args.flags.has('json')) {
      stdout.write(`${JSON.stringify(listed.map(asJson), null, 2)}\n`);
    } else if (listed.length === 0) stdout.write('no checkpoints yet\n');
    else stdout.write(alignColumns([['step', 'saved', 'size', 'loss', 'state'], ...listed.map(asRow)]));
    return 0;
  },
};

const lossOf = ({ manifest }: CheckpointListing): number | null => {
  const loss = (manifest?.metrics as { readonly loss?: unknown } | undefined)?.loss;
  return typeof loss === 'number' ? loss : null;
};

function asRow(listing: CheckpointListing): string[] {
  const { step, state, reason, manifest } = listing;
  const loss = lossOf(listing);
  const saved = manifest?.savedAt ?? null;
  return [
    String(step),
    saved === null ? '-' : saved.slice(0, 16).replace('T', ' '),
    manifest === undefined ? '-' : formatBytes(manifestBytes(manifest)),
    loss === null ? '-' : lossText(loss),
    reason === undefined ? state : `${state}: ${reason}`,
  ];
}

function asJson(listing: CheckpointListing): object {
  const { step, path, state, reason, manifest } = listing;
  return {
    step,
    path,
    state,
    reason: reason ?? null,
    savedAt: manifest?.savedAt ?? null,
    bytes: manifest === undefined ? null : manifestBytes(manifest),
    loss: lossOf(listing),
  };
}
