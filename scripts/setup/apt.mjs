/** The system's packages: installed when that needs no question (Debian family, root), else named in one command. */
import { readFileSync } from 'node:fs';
import { ask, which } from './run.mjs';

/** @typedef {import('./env.mjs').Env} Env */

/** The command that would install them here, for people. @param {readonly string[]} packages */
export function installCommand(packages) {
  const names = packages.join(' ');
  if (isDebianFamily()) return `sudo apt-get install -y ${names}`;
  return `install ${names} with the system's package manager (names as on Debian)`;
}

/**
 * Installs packages quietly; says whether they are there now. Never asks and never fails: callers have another way.
 * @param {readonly string[]} packages @param {Env} env @param {(text: string) => void} log
 */
export function aptInstall(packages, env, log) {
  const apt = which(env, 'apt-get');
  if (apt === undefined || process.getuid?.() !== 0 || !isDebianFamily()) return false;
  const quiet = { env: { ...env, DEBIAN_FRONTEND: 'noninteractive' }, timeoutMs: 180_000 };
  const limits = ['-o', 'Acquire::Retries=0', '-o', 'Acquire::http::Timeout=10', '-o', 'DPkg::Lock::Timeout=30'];
  const install = ['install', '-y', '-q', '--no-install-recommends', ...limits, ...packages];
  let answer = ask(apt, install, quiet);
  if (!answer.ok) {
    // A fresh container has no package lists.
    ask(apt, ['update', '-q', ...limits], quiet);
    answer = ask(apt, install, quiet);
  }
  log(`$ apt-get ${install.join(' ')}\n${answer.stdout}${answer.stderr}\n`);
  return answer.ok;
}

/** @param {string} [file] */
export function isDebianFamily(file = '/etc/os-release') {
  try {
    return /^ID(_LIKE)?=.*\b(debian|ubuntu)\b/m.test(readFileSync(file, 'utf8'));
  } catch {
    return false;
  }
}
