import type { Override, OverrideInput } from '../config/index.ts';
import { isTierraError } from '../core/errors.ts';
import type { Arguments, Command, Option } from './command.ts';

/** The schema takes longer to load than all else: only the commands that read a configuration do. */
export const loadConfiguration = () => import('../config/index.ts');

/** The configuration values that a command line gives: `--set` first, then the flags with a field of their own. */
export async function overridesFrom(command: Command, args: Arguments): Promise<OverrideInput[]> {
  const { parseValue } = await loadConfiguration();
  const own = Object.entries(command.options).flatMap(([flag, option]): Override[] => {
    const typed = args.flags.get(flag)?.at(-1);
    if (option.field === undefined || typed === undefined) return [];
    return [
      { source: `--${flag} ${typed}`, path: option.field.split('.'), value: readTyped(option, typed, parseValue) },
    ];
  });
  return [...(args.flags.get('set') ?? []), ...own];
}

/** What cannot be read as a value stays text, so that the schema refuses it with the field's name and type. */
function readTyped(option: Option, typed: string, parseValue: (text: string) => unknown): unknown {
  if (option.text === true) return typed;
  try {
    return parseValue(typed);
  } catch (error) {
    if (isTierraError(error)) return typed;
    throw error;
  }
}
