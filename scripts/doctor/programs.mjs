/** Node, npm, the platform, and what compiling needs. */
import { installCommand } from '../setup/apt.mjs';
import { lookForTools } from '../setup/findTools.mjs';
import { checkPlatform, thisMachine } from '../setup/platform.mjs';
import { ask, compareVersions, which } from '../setup/run.mjs';
import { broken, off, ok } from './finding.mjs';

/** @typedef {import('./finding.mjs').Finding} Finding */
/** @typedef {import('../setup/env.mjs').Env} Env */

/** As in package.json's `engines`. */
const oldestNode = '20.19.0';

/** @param {Env} env @returns {Finding[]} */
export function checkPrograms(env) {
  return [checkMachine(), checkNode(process.versions.node), checkNpm(env), ...checkTools(env)];
}

/** @returns {Finding} */
function checkMachine() {
  const machine = thisMachine();
  const name = 'platform';
  try {
    return ok(name, checkPlatform(machine) || `Linux x86-64, kernel ${machine.kernel}`);
  } catch (error) {
    return broken(name, /** @type {Error} */ (error).message, 'Use a Linux machine, WSL2 or a Linux container.');
  }
}

/** @param {string} version @returns {Finding} */
export function checkNode(version) {
  if (compareVersions(version, oldestNode) >= 0) return ok('Node', version);
  return broken(
    'Node',
    `${version}, ${oldestNode} or later is needed`,
    'Install Node 20.19 or later, e.g. from nodejs.org.',
  );
}

/** @param {Env} env @returns {Finding} */
function checkNpm(env) {
  const npm = which(env, 'npm');
  const version = npm === undefined ? '' : ask(npm, ['--version'], { env }).stdout.trim();
  return version === '' ? off('npm', 'not on PATH', 'Install npm, it comes with Node.') : ok('npm', version);
}

/** @param {Env} env @returns {Finding[]} */
function checkTools(env) {
  return Object.values(lookForTools(env)).map(({ name, tool, problem, apt }) =>
    tool === undefined ? off(name, problem, installCommand([apt])) : ok(name, `${tool.version} (${tool.path})`),
  );
}
