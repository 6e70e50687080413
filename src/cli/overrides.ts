import { type Override, type OverrideInput, parseValue } from '../config/index.ts';
import { isTierraError } from '../core/errors.ts';
import type { Arguments, Command, Option } from './command.ts';

/** The configuration values that a command line gives: `--set` first, then the flags with a field of their own. */
export function overridesFrom(command: Command, args: Arguments): OverrideInput[] {
  const own = Object.entries(command.options).flatMap(([flag, option]): Override[] => {
    const typed = args.flags.get(flag)?.at(-1);
    if (option.field === undefined || typed === undefined) return [];
    return [{ source: `--${flag} ${typed}`, path: option.field.split('.'), value: readTyped(option, typed) }];
  });
  return [...(args.flags.get('set') ?? []), ...own];
}

/** What cannot be read as a value stays text, so that the schema refuses it with the field's name and type. */
function readTyped(option: Option, typed: string): unknown {
  if (option.text === true) return typed;
  try {
    return parseValue(typed);
  } catch (error) {
    if (isTierraError(error)) return typed;
    throw error;
  }
}
