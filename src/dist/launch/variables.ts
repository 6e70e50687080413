/** Reading a launcher's environment variables: integers in range, and errors that name the variables. */
import { TierraError } from '../../core/errors.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** The value of a variable that is set and not empty. */
export function given(env: Environment, name: string): string | undefined {
  const value = env[name]?.trim();
  return value === undefined || value === '' ? undefined : value;
}

/** A whole number `min` or larger; undefined where the variable is not set. */
export function integer(env: Environment, name: string, min: number): number | undefined {
  const text = given(env, name);
  if (text === undefined) return undefined;
  const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min) return value;
  throw badEnvironment(`${name}=${text} is not a whole number of ${min} or more`);
}

export function port(env: Environment, name: string): number | undefined {
  const value = integer(env, name, 1);
  if (value === undefined || value <= 65_535) return value;
  throw badEnvironment(`${name}=${value} is not a port (1 to 65535)`);
}

/** Fails where some of `names` are set and others are not, as after exporting half of a launcher's variables by hand. */
export function needAll(env: Environment, launcher: string, names: readonly string[]): void {
  const missing = names.filter((name) => given(env, name) === undefined);
  if (missing.length === 0) return;
  const present = names.filter((name) => given(env, name) !== undefined).map((name) => `${name}=${env[name]}`);
  throw badEnvironment(
    `${present.join(' ')} ${present.length === 1 ? 'looks' : 'look'} like ${launcher}, but ${missing.join(', ')} ${missing.length === 1 ? 'is' : 'are'} not set`,
    `Set ${missing.join(', ')}, or unset ${names.filter((name) => given(env, name) !== undefined).join(', ')} to train as one process.`,
  );
}

export function badEnvironment(message: string, hint?: string): TierraError {
  return new TierraError('E_LAUNCH', `the launcher's environment: ${message}`, {
    hint: hint ?? 'Start with `tierra run`, torchrun, srun or mpirun, which set these variables, or unset them.',
  });
}
