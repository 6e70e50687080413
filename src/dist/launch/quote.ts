/**
 * The one place where words become a shell's command line: ssh hands its arguments to the remote user's shell, whatever
 * is done here. Inside single quotes nothing is special to sh, bash, zsh, ksh or fish but the quote itself.
 */
import { TierraError } from '../../core/errors.ts';

export function shellQuote(word: string): string {
  if (word.includes('\0')) throw new TierraError('E_ARGUMENT', 'an argument with a zero byte cannot be passed on');
  return /^[\w@%+=:,./-]+$/.test(word) && !word.startsWith('=') ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** Runs `argv` in `folder`, in place of the shell. */
export const remoteCommand = (folder: string, argv: readonly string[]): string =>
  `cd ${shellQuote(folder)} && exec ${argv.map(shellQuote).join(' ')}`;
