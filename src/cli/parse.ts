import yargs, { type Argv } from 'yargs';
import { nearest } from '../core/nearest.ts';
import { type Arguments, type Command, commandName } from './command.ts';
import { commands, groups } from './commands/index.ts';
import { UsageError } from './usageError.ts';

export type Parsed =
  | { readonly kind: 'command'; readonly command: Command; readonly args: Arguments }
  | { readonly kind: 'print'; readonly text: string };

/**
 * Sorts a command line. Every value stays text: yargs would turn `--tokens abc` into NaN without a word.
 * Throws `UsageError` for what it does not know, with the nearest thing that it does.
 */
export async function parseArguments(argv: readonly string[], version: string, columns: number): Promise<Parsed> {
  const direct = commands.find((command) => command.passesThrough === true && command.name[0] === argv[0]);
  if (direct !== undefined) {
    return { kind: 'command', command: direct, args: { positionals: argv.slice(1), flags: new Map() } };
  }
  const { head, after } = splitRest(argv);
  let chosen: { command: Command; argv: Record<string, unknown> } | undefined;
  let printed = '';
  const parser = buildParser(head, version, columns, (command, values) => {
    chosen = { command, argv: values };
  });
  const rest = (await parser.parseAsync([...head], {}, (_error: unknown, _argv: unknown, output: string) => {
    printed = output;
  })) as Record<string, unknown>;
  if (printed !== '') return { kind: 'print', text: printed };
  if (chosen === undefined) throw unknownCommand((rest._ as unknown[]).map(String), rest);
  const { positionals, flags } = sort(chosen.command, chosen.argv);
  return { kind: 'command', command: chosen.command, args: { positionals: [...positionals, ...after], flags } };
}

/** What follows the script of `tierra run` is the script's own, flags and all. */
function splitRest(argv: readonly string[]): { head: readonly string[]; after: readonly string[] } {
  const command = commands.find(({ name, rest }) => rest !== undefined && name[0] === argv[0]);
  if (command === undefined) return { head: argv, after: [] };
  for (let i = 1; i < argv.length; i++) {
    const word = argv[i]!;
    if (word === '--') return { head: [...argv.slice(0, i), ...argv.slice(i + 1, i + 2)], after: argv.slice(i + 2) };
    if (!word.startsWith('-')) return { head: argv.slice(0, i + 1), after: argv.slice(i + 1) };
    const option = command.options[word.replace(/^--?/, '')];
    if (option !== undefined && option.bare !== true) i++;
  }
  return { head: argv, after: [] };
}

function buildParser(
  argv: readonly string[],
  version: string,
  columns: number,
  choose: (command: Command, argv: Record<string, unknown>) => void,
): Argv {
  const parser = yargs()
    .locale('en')
    .scriptName('tierra')
    .usage('$0 <command>\n\nTrain models that are larger than the GPU.')
    .version(version)
    .help()
    .wrap(Math.min(100, columns))
    .exitProcess(false)
    .parserConfiguration({
      'camel-case-expansion': false,
      'dot-notation': false,
      'parse-numbers': false,
      'parse-positional-numbers': false,
      'boolean-negation': false,
      'greedy-arrays': false,
      'short-option-groups': false,
    })
    .fail((message, error) => {
      if (error !== undefined && error.name !== 'YError') throw error;
      throw rejected(argv, message ?? error.message);
    });
  const declare = (at: Argv, command: Command): Argv =>
    at.command(
      [command.name.at(-1), ...command.positionals.map((name) => `<${name}>`)].join(' '),
      command.describe,
      (inner) => describeFlags(inner, command),
      (values) => choose(command, values),
    );
  for (const command of commands.filter(({ name }) => name.length === 1)) declare(parser, command);
  for (const group of new Set(commands.flatMap(({ name }) => (name.length === 2 ? [name[0]] : [])))) {
    const members = commands.filter(({ name }) => name.length === 2 && name[0] === group);
    parser.command(group, groupText(group, members), (inner) =>
      members.reduce((at, command) => declare(at, command), inner),
    );
  }
  return parser;
}

function groupText(group: string, members: readonly Command[]): string {
  const about = groups[group];
  if (about === undefined) return members.map(({ describe }) => describe).join('; ');
  return `${about}: ${members.map(({ name }) => name[1]).join(', ')}`;
}

function describeFlags(parser: Argv, command: Command): Argv {
  const positionals = command.positionals.map((name) => `<${name}>`);
  const words =
    command.rest === undefined ? [...positionals, '[options]'] : ['[options]', ...positionals, '[arguments]'];
  const usage = [commandName(command), ...words].join(' ');
  let described = parser.usage(`$0 ${usage}\n\n${command.describe}.`);
  for (const [flag, option] of Object.entries(command.options)) {
    described = described.option(flag, {
      describe: option.describe,
      type: option.bare === true ? 'boolean' : 'string',
      requiresArg: option.bare !== true,
      array: option.many === true,
    });
  }
  return described;
}

/** What yargs refuses by itself: a value that is missing, with or without a flag. */
function rejected(argv: readonly string[], message: string): UsageError {
  const command = commands.find(({ name }) => name.every((word, index) => argv[index] === word));
  if (command === undefined) return new UsageError(message, 'Run `tierra --help`.');
  const name = commandName(command);
  const hint = `Run \`tierra ${name} --help\`.`;
  const flag = /^Not enough arguments following: (.*)$/.exec(message)?.[1];
  if (flag !== undefined) return new UsageError(`${name}: --${flag} needs a value`, hint);
  if (!message.startsWith('Not enough non-option arguments')) return new UsageError(`${name}: ${message}`, hint);
  return new UsageError(`${name}: <${command.positionals.join('> <')}> is missing`, hint);
}

/** Checks names and counts, and puts the values in plain maps. */
function sort(command: Command, argv: Record<string, unknown>): Arguments {
  const name = commandName(command);
  const hint = `Run \`tierra ${name} --help\`.`;
  const known = Object.keys(command.options);
  const flags = new Map<string, readonly string[]>();
  for (const [key, value] of Object.entries(argv)) {
    if (key === '_' || key === '$0' || command.positionals.includes(key) || value === undefined) continue;
    if (!known.includes(key)) throw unknownFlag(name, key, known);
    const values = (Array.isArray(value) ? value : [value]).map(String);
    if (values.length > 1 && command.options[key]!.many !== true) {
      throw new UsageError(`${name}: --${key} is given ${values.length} times`, hint);
    }
    flags.set(key, values);
  }
  const positionals = command.positionals.map((positional) => {
    const value = argv[positional];
    if (typeof value !== 'string' || value === '') throw new UsageError(`${name}: <${positional}> is missing`, hint);
    return value;
  });
  const extra = (argv._ as unknown[]).slice(command.name.length);
  if (extra.length > 0) throw new UsageError(`${name}: unexpected ${JSON.stringify(String(extra[0]))}`, hint);
  return { positionals, flags };
}

const dashes = (flag: string): string => (flag.length === 1 ? `-${flag}` : `--${flag}`);

function unknownFlag(name: string, flag: string, known: readonly string[]): UsageError {
  const meant = flag.length === 1 ? undefined : nearest(flag, [...known, 'help', 'version']);
  const hint = meant === undefined ? `Run \`tierra ${name} --help\`.` : `Did you mean --${meant}?`;
  return new UsageError(`${name}: unknown option ${dashes(flag)}`, hint);
}

function unknownCommand(words: readonly string[], argv: Record<string, unknown>): UsageError {
  const flag = Object.keys(argv).find((key) => key !== '_' && key !== '$0');
  const first = words[0];
  if (first === undefined) {
    if (flag !== undefined) return new UsageError(`unknown option ${dashes(flag)}`, 'Run `tierra --help`.');
    return new UsageError('no command is given', 'Run `tierra --help` for the list.');
  }
  const members = commands.filter(({ name }) => name.length === 2 && name[0] === first).map(({ name }) => name[1]!);
  const typed = members.length > 0 ? words[1] : first;
  const prefix = members.length > 0 ? `${first} ` : '';
  const known = members.length > 0 ? members : commands.map(({ name }) => name[0]);
  if (typed === undefined)
    return new UsageError(`${first}: which one? ${members.join(', ')}`, `Run \`tierra ${first} --help\`.`);
  const meant = nearest(typed, known);
  const hint =
    meant === undefined ? `Commands: ${[...new Set(known)].join(', ')}.` : `Did you mean tierra ${prefix}${meant}?`;
  return new UsageError(`unknown command ${JSON.stringify(prefix + typed)}`, hint);
}
