import { isTierraError, TierraError } from '../../core/errors.ts';
import { formatBytes } from '../../core/units.ts';
import { listCheckpoints, locateCheckpoints, manifestBytes, verifyCheckpoint } from '../../engine/checkpoint/index.ts';
import type { Command } from '../command.ts';

export const checkpointVerifyCommand: Command = {
  name: ['checkpoint', 'verify'],
  describe: 'Compare every byte of them with what was written',
  positionals: ['checkpoint'],
  options: {},
  async run(args, { stdout, signal }) {
    const { output, checkpoint } = locateCheckpoints(args.positionals[0]!);
    const paths = checkpoint === null ? listCheckpoints(output!).map(({ path }) => path) : [checkpoint];
    let bad = 0;
    for (const path of paths) {
      if (signal.aborted) throw new TierraError('E_INTERRUPTED', 'stopped');
      try {
        const { manifest, warnings } = await verifyCheckpoint(path);
        stdout.write(`${path}: sound, ${manifest.files.length} files, ${formatBytes(manifestBytes(manifest))}\n`);
        for (const warning of warnings) stdout.write(`warning: ${warning}\n`);
      } catch (error) {
        if (!isTierraError(error)) throw error;
        bad++;
        stdout.write(`bad: ${error.message}\n`);
      }
    }
    if (paths.length === 0) stdout.write('no checkpoints yet\n');
    return bad === 0 ? 0 : 1;
  },
};
