import type { Origin } from '../../config/index.ts';
import { formatBytes, parseBytes } from '../../core/units.ts';
import type { Command } from '../command.ts';
import { setOption } from '../options.ts';
import { loadConfiguration, overridesFrom } from '../overrides.ts';
import { alignColumns } from '../table.ts';

export const configShowCommand: Command = {
  name: ['config', 'show'],
  describe: 'Print every value of a configuration and where it comes from',
  positionals: ['config'],
  options: { set: setOption },
  async run(args, { stdout }) {
    const { isByteField, loadConfigWithOrigins } = await loadConfiguration();
    const { origins } = loadConfigWithOrigins(args.positionals[0]!, await overridesFrom(configShowCommand, args));
    const text = (entry: Origin): string => valueText(entry, isByteField(entry.path));
    stdout.write(alignColumns(origins.map((entry) => [entry.path, text(entry), entry.origin])));
    return 0;
  },
};

/** As it could stand in the file; sizes with a unit where that loses nothing. */
function valueText({ value }: Origin, isSize: boolean): string {
  if (isSize && typeof value === 'number') {
    const size = formatBytes(value);
    return parseBytes(size) === value ? size : String(value);
  }
  return typeof value === 'string' && value !== '' ? value : JSON.stringify(value);
}
