/** Which machines Tierra's addon is built on. */
import { readFileSync } from 'node:fs';
import { SetupStop } from './stop.mjs';

/** What the machine is; the kernel's release names WSL. */
export function thisMachine() {
  let kernel = '';
  try {
    kernel = readFileSync('/proc/sys/kernel/osrelease', 'utf8').trim();
  } catch {
    // not Linux
  }
  return { platform: /** @type {string} */ (process.platform), arch: /** @type {string} */ (process.arch), kernel };
}

/**
 * The remark to print for a machine that is accepted, empty for the one that is tested.
 * @param {{ platform: string, arch: string, kernel: string }} machine
 * @returns {string}
 */
export function checkPlatform({ platform, arch, kernel }) {
  if (platform !== 'linux' || (arch !== 'x64' && arch !== 'arm64')) {
    throw new SetupStop('absent', `the native addon is built on Linux x86-64; this is ${platform} ${arch}`, {
      remedy: platform === 'win32' ? 'On Windows, use WSL2.' : 'Use a Linux machine or a Linux container.',
    });
  }
  if (arch === 'arm64') return 'Linux on arm64: expected to work, not tested';
  if (/microsoft/i.test(kernel)) return 'WSL2: expected to work, not tested';
  return '';
}
