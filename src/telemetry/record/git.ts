import { execFileSync } from 'node:child_process';

export interface GitState {
  readonly revision: string;
  /** Whether tracked files differ from it; null when git took too long to say. */
  readonly dirty: boolean | null;
}

/** The revision that `folder` is at, or null where there is no repository or no git. */
export function gitState(folder: string): GitState | null {
  const revision = git(folder, ['rev-parse', 'HEAD']);
  if (revision === null || revision === '') return null;
  const changes = git(folder, ['status', '--porcelain', '--untracked-files=no']);
  return { revision, dirty: changes === null ? null : changes !== '' };
}

/** What git prints; null when it fails or takes longer than a person would notice. Takes no locks and asks nothing. */
function git(cwd: string, args: readonly string[]): string | null {
  try {
    const env = { ...process.env, GIT_OPTIONAL_LOCKS: '0', GIT_TERMINAL_PROMPT: '0' };
    return execFileSync('git', args, {
      cwd,
      env,
      encoding: 'utf8',
      timeout: 2000,
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return null;
  }
}
