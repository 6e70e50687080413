/** What compiling needs: CMake, a C++20 compiler, and Ninja or make. */
import { installCommand } from './apt.mjs';
import { ask, compareVersions, which } from './run.mjs';
import { SetupStop } from './stop.mjs';

/** @typedef {import('./env.mjs').Env} Env */
/** @typedef {{ path: string, version: string }} Tool */

/** First versions with what the sources use. */
export const needed = { cmake: '3.22', gcc: '11', clang: '14' };

/**
 * One tool as it was found: `tool` when it serves, else `problem`.
 * @typedef {{ name: string, tool: Tool | undefined, problem: string, apt: string }} Finding
 */

/** @param {Env} env @returns {{ cmake: Finding, compiler: Finding, builder: Finding }} */
export function lookForTools(env) {
  return { cmake: findCmake(env), compiler: findCompiler(env), builder: findBuilder(env) };
}

/** All tools, or a stop that names every missing one and the single command that installs them. @param {Env} env */
export function requireTools(env) {
  const { cmake, compiler, builder } = lookForTools(env);
  if (cmake.tool && compiler.tool && builder.tool) {
    return { cmake: cmake.tool, compiler: compiler.tool, builder: builder.tool };
  }
  const missing = [cmake, compiler, builder].filter((finding) => finding.tool === undefined);
  throw new SetupStop('absent', 'the addon cannot be compiled here', {
    looked: missing.map(({ name, problem }) => `${name}: ${problem}`),
    remedy: installCommand(missing.map(({ apt }) => apt)),
  });
}

/** @param {Env} env @returns {Finding} */
function findCmake(env) {
  const tool = versioned(env, 'cmake', /cmake version ([\d.]+)/);
  const base = { name: 'cmake', apt: 'cmake' };
  if (tool === undefined) return { ...base, tool, problem: 'not on PATH' };
  if (compareVersions(tool.version, needed.cmake) >= 0) return { ...base, tool, problem: '' };
  return { ...base, tool: undefined, problem: `${tool.path} is ${tool.version}, ${needed.cmake} or later is needed` };
}

/** @param {Env} env @returns {Finding} */
function findCompiler(env) {
  const chosen = env.CXX;
  const base = { name: 'C++20 compiler', apt: 'g++' };
  const names = chosen ? [chosen] : ['c++', 'g++', 'clang++'];
  /** @type {string[]} */
  const tried = [];
  for (const name of names) {
    const file = which(env, name);
    if (file === undefined) continue;
    const said = ask(file, ['--version'], { env }).stdout;
    const kind = /clang/i.test(said) ? 'clang' : 'gcc';
    const version = (kind === 'clang' ? /version ([\d.]+)/ : /\)\s+([\d.]+)/).exec(said)?.[1] ?? '0';
    if (compareVersions(version, needed[kind]) >= 0) {
      return { ...base, tool: { path: file, version: `${kind} ${version}` }, problem: '' };
    }
    tried.push(`${file} is ${kind} ${version}`);
  }
  const found = tried.length > 0 ? tried.join(', ') : `${names.join(', ')} not on PATH`;
  const where = chosen ? `CXX=${chosen}: ` : '';
  return {
    ...base,
    tool: undefined,
    problem: `${where}${found}; gcc ${needed.gcc} or clang ${needed.clang} or later is needed`,
  };
}

/** @param {Env} env @returns {Finding} */
function findBuilder(env) {
  const ninja = versioned(env, 'ninja', /^([\d.]+)/) ?? versioned(env, 'make', /Make ([\d.]+)/);
  const problem = ninja === undefined ? 'neither ninja nor make on PATH' : '';
  return { name: 'ninja or make', tool: ninja, problem, apt: 'ninja-build' };
}

/** @param {Env} env @param {string} name @param {RegExp} pattern @returns {Tool | undefined} */
function versioned(env, name, pattern) {
  const file = which(env, name);
  if (file === undefined) return undefined;
  const version = pattern.exec(ask(file, ['--version'], { env }).stdout)?.[1];
  return version === undefined ? undefined : { path: file, version };
}
