import type { Command } from '../command.ts';
import { runScript } from '../script.ts';

export const doctorCommand: Command = {
  name: ['doctor'],
  describe: 'Say what of libtorch, the addon and this machine works, and how to mend the rest',
  positionals: [],
  options: {},
  passesThrough: true,
  run: (args) => runScript('doctor.mjs', args.positionals),
};
