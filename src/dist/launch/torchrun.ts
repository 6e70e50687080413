/**
 * torchrun's variables (docs.pytorch.org, "Environment Variables" of torchrun), which `tierra run` sets as well, and
 * the PyTorch operator of Kubernetes without the local ones: one rank a pod.
 */
import type { Launcher, World } from '../world.ts';
import { type Environment, given, integer, needAll, port } from './variables.ts';

const names = ['RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'] as const;

export function fromTorchrun(env: Environment): World | null {
  const launcher = launcherOf(env);
  // WORLD_SIZE or MASTER_* alone may belong to another launcher, whose reader takes them as hints.
  if (launcher === null) return null;
  const size = integer(env, 'WORLD_SIZE', 1);
  const needed = size === 1 ? names.slice(0, 2) : names;
  needAll(env, launcher === 'tierra' ? 'tierra run' : launcher, needed);
  const rank = integer(env, 'RANK', 0)!;
  const localRank = integer(env, 'LOCAL_RANK', 0);
  const localSize = integer(env, 'LOCAL_WORLD_SIZE', 1);
  if ((localRank === undefined) !== (localSize === undefined)) {
    needAll(env, launcher, ['LOCAL_RANK', 'LOCAL_WORLD_SIZE']);
  }
  const listenFd = launcher === 'tierra' ? integer(env, 'TIERRA_STORE_FD', 3) : undefined;
  return {
    launcher,
    rank,
    size: size!,
    localRank: localRank ?? 0,
    localSize: localSize ?? 1,
    rendezvous:
      size === 1
        ? null
        : {
            host: given(env, 'MASTER_ADDR')!,
            port: port(env, 'MASTER_PORT')!,
            external: isTrue(given(env, 'TORCHELASTIC_USE_AGENT_STORE')),
            ...(listenFd === undefined ? {} : { listenFd }),
          },
  };
}

function launcherOf(env: Environment): Launcher | null {
  if (given(env, 'RANK') === undefined) return null;
  if (given(env, 'TIERRA_LAUNCHER') === 'run') return 'tierra';
  const inPod = given(env, 'KUBERNETES_SERVICE_HOST') !== undefined;
  return inPod && given(env, 'LOCAL_RANK') === undefined ? 'kubernetes' : 'torchrun';
}

/** torchrun writes Python's `str(bool)`. */
const isTrue = (text: string | undefined): boolean => text === 'True' || text === 'true' || text === '1';
