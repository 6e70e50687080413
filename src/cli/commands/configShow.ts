import { isByteField, loadConfigWithOrigins, type Origin } from '../../config/index.ts';
import { formatBytes, parseBytes } from '../../core/units.ts';
import type { Command } from '../command.ts';
import { setOption } from '../options.ts';
import { overridesFrom } from '../overrides.ts';
import { alignColumns } from '../table.ts';

export const configShowCommand: Command = {
  name: ['config', 'show'],
  describe: 'Print every value of a configuration and where it comes from',
  positionals: ['config'],
  options: { set: setOption },
  async run(args, { stdout }) {
    const { origins } = loadConfigWithOrigins(args.positionals[0]!, overridesFrom(configShowCommand, args));
    stdout.write(alignColumns(origins.map((entry) => [entry.path, valueText(entry), entry.origin])));
    return 0;
  },
};

/** As it could stand in the file; sizes with a unit where that loses nothing. */
function valueText({ path, value }: Origin): string {
  if (isByteField(path) && typeof value === 'number') {
    const size = formatBytes(value);
    return parseBytes(size) === value ? size : String(value);
  }
  return typeof value === 'string' && value !== '' ? value : JSON.stringify(value);
}
