/** Where things lie: everything setup reads or writes is under the package's own folder. */
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * @typedef {object} Places
 * @property {string} root      the package
 * @property {string} native    C++ sources, what CMake is pointed at
 * @property {string} build     everything setup makes, apart from torch
 * @property {string} objects   CMake's folder, kept so that a second build is short
 * @property {string} addon     the finished addon
 * @property {string} buildInfo what the addon was built from
 * @property {string} lock
 * @property {string} log
 * @property {string} ownTorch  where a libtorch of our own is installed
 */

/** @param {string} [root] @returns {Places} */
export function placesIn(root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..', '..')) {
  const build = path.join(root, 'build');
  return {
    root,
    native: path.join(root, 'native'),
    build,
    objects: path.join(build, 'native'),
    addon: path.join(build, 'tierra.node'),
    buildInfo: path.join(build, 'build-info.json'),
    lock: path.join(build, 'setup.lock'),
    log: path.join(build, 'setup.log'),
    ownTorch: path.join(root, '.torch'),
  };
}
