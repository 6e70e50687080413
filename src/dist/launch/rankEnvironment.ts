/** What a rank started by `tierra run` finds in its environment. */
import type { RankPlace } from './slots.ts';

export interface Meeting {
  /** Where ranks meet: the host of rank 0, and the port that its process inherits. */
  readonly host: string;
  readonly port: number;
  /** How often this job has been started again. */
  readonly restart: number;
}

/** torchrun's names, so that other programs understand them too, and a few of our own. */
export function rankEnvironment(
  place: RankPlace,
  size: number,
  { host, port, restart }: Meeting,
): Record<string, string> {
  return {
    TIERRA_LAUNCHER: 'run',
    TIERRA_RESTART: String(restart),
    RANK: String(place.rank),
    WORLD_SIZE: String(size),
    LOCAL_RANK: String(place.localRank),
    LOCAL_WORLD_SIZE: String(place.localSize),
    MASTER_ADDR: host,
    MASTER_PORT: String(port),
  };
}

/** Set for this process by another launcher: a rank must not see them beside its own. */
export const foreignVariables = /^(?:OMPI_COMM_WORLD_|PMIX_|SLURM_(?:PROCID|LOCALID)$|TORCHELASTIC_|PET_|GROUP_|ROLE_)/;

/** What goes along to other hosts: settings of what computes and talks, never the whole environment with its secrets. */
const forwarded =
  /^(?:PATH|LD_LIBRARY_PATH|LANG|LC_ALL|TZ|NO_COLOR|FORCE_COLOR|(?:TIERRA|NCCL|GLOO|CUDA|OMP|MKL|KMP|OPENBLAS|TORCH|PYTORCH|TORCHINDUCTOR|UCX|FI|IBV|RDMAV|HF)_\w+)$/;
const secret = /TOKEN|SECRET|PASSWORD|CREDENTIAL|PRIVATE|API_KEY/;

/** `asked` are the values of `--env`: NAME takes it from here, NAME=value sets it. */
export function forwardedEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  asked: readonly string[],
): Record<string, string> {
  const chosen = Object.entries(env).filter(([name]) => forwarded.test(name) && !secret.test(name));
  return { ...definedOnly(chosen), ...askedEnvironment(env, asked) };
}

export function askedEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  asked: readonly string[],
): Record<string, string> {
  return definedOnly(
    asked.map((text) => {
      const at = text.indexOf('=');
      return at < 0 ? [text, env[text]] : [text.slice(0, at), text.slice(at + 1)];
    }),
  );
}

const definedOnly = (entries: readonly (readonly [string, string | undefined])[]): Record<string, string> =>
  Object.fromEntries(entries.filter((entry): entry is [string, string] => entry[1] !== undefined));
