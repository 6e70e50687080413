import type { Output } from '../telemetry/index.ts';

/** A flag that takes a value. Values arrive as text and go through the configuration's schema. */
export interface Option {
  readonly describe: string;
  /** The field that the flag sets, such as `sample.tokens`. */
  readonly field?: string;
  /** The value is taken as it is typed; otherwise it is read as it would be in the file. */
  readonly text?: boolean;
  /** May be given several times. */
  readonly many?: boolean;
  /** Takes no value: given or not. */
  readonly bare?: boolean;
}

/** What a person typed, sorted. */
export interface Arguments {
  readonly positionals: readonly string[];
  /** Values of each flag that was given, in the order typed. */
  readonly flags: ReadonlyMap<string, readonly string[]>;
}

export interface Context {
  readonly stdout: Output;
  readonly stderr: Output;
  /** Aborts when the process is asked to stop. */
  readonly signal: AbortSignal;
  /** Something to undo before the process is ended at once, such as a hidden cursor. */
  readonly onQuit: (undo: () => void) => void;
}

export interface Command {
  /** One word, or two for a command of a group. */
  readonly name: readonly [string] | readonly [group: string, name: string];
  readonly describe: string;
  /** Names of the values without a flag; all must be given. */
  readonly positionals: readonly string[];
  readonly options: Readonly<Record<string, Option>>;
  /** What follows the first value without a flag is passed on as typed; the words for the help. */
  readonly rest?: string;
  /** The command's program reads its own flags. */
  readonly passesThrough?: boolean;
  /** Resolves to the exit code. */
  run(args: Arguments, context: Context): Promise<number>;
}

export const commandName = (command: Command): string => command.name.join(' ');
