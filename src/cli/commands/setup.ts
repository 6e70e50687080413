import type { Command } from '../command.ts';
import { runScript } from '../script.ts';

export const setupCommand: Command = {
  name: ['setup'],
  describe: 'Find or install libtorch and build the addon',
  positionals: [],
  options: {},
  passesThrough: true,
  run: (args) => runScript('setup.mjs', args.positionals),
};
