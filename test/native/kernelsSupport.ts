/** Where NVRTC is on this machine: a CPU build of torch brings none, so Python's packages are looked through too. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';

/** The folder of libnvrtc, or why there is none. */
export function findNvrtc(): string | { reason: string } {
  const asked = process.env.TIERRA_NVRTC;
  if (asked !== undefined && asked !== '') return existsSync(asked) ? asked : { reason: `TIERRA_NVRTC: no ${asked}` };
  const folders = [...sitePackages().flatMap(wheelFolders), '/usr/local/cuda/lib64'];
  const found = folders.find(holdsNvrtc);
  if (found !== undefined) return found;
  return {
    reason: 'no NVRTC here; pip install nvidia-cuda-nvrtc, or set TIERRA_NVRTC to the folder of libnvrtc.so.13',
  };
}

const wheelFolders = (site: string): string[] =>
  ['cu13', 'cuda_nvrtc'].map((name) => path.join(site, 'nvidia', name, 'lib'));

const holdsNvrtc = (folder: string): boolean =>
  existsSync(folder) && readdirSync(folder).some((name) => /^libnvrtc\.so\.1[23]$/.test(name));

/** Those of the Python on the path, and the folder that `.ci/run` installs the wheel into. */
function sitePackages(): string[] {
  const script = 'import sys; print("\\n".join(p for p in sys.path if p.endswith("-packages")))';
  const asked = spawnSync('python3', ['-c', script], { encoding: 'utf8' });
  const own = path.join(import.meta.dirname, '../../build/nvrtc');
  return [own, ...(asked.stdout ?? '').split('\n').filter((line) => line !== '')];
}
