/** What `tierra check` asks each rank of every host, and what it makes of the answers. */

/** One rank's answer. */
export interface RankFacts {
  readonly rank: number;
  readonly host: string;
  readonly versions: Readonly<Record<string, string>>;
  readonly devices: number;
  readonly device: string;
  /** Of this rank's clock against rank 0's, and by how much that may be wrong. */
  readonly clockMs: number;
  readonly clockErrorMs: number;
}

export interface Bandwidth {
  readonly bytes: number;
  readonly seconds: number;
  readonly ranks: number;
}

export interface Finding {
  readonly check: string;
  readonly verdict: 'ok' | 'bad';
  readonly says: string;
}

/** Certificates, logs and Kerberos tickets start to misbehave about here; collectives do not care. */
const clockLimitMs = 1_000;

export function findingsOf(ranks: readonly RankFacts[], bandwidth: Bandwidth | null): Finding[] {
  const first = ranks[0]!;
  const names = Object.keys(first.versions);
  return [
    ...names.map((name) => versionFinding(name, ranks)),
    devicesFinding(ranks),
    clocksFinding(ranks),
    ...(bandwidth === null ? [] : [bandwidthFinding(bandwidth)]),
  ];
}

function versionFinding(name: string, ranks: readonly RankFacts[]): Finding {
  const expected = ranks[0]!.versions[name]!;
  const other = ranks.find(({ versions }) => versions[name] !== expected);
  if (other === undefined) return { check: name, verdict: 'ok', says: expected };
  const says = `${expected} on ${ranks[0]!.host}, ${other.versions[name] ?? 'none'} on ${other.host} (rank ${other.rank})`;
  return { check: name, verdict: 'bad', says };
}

function devicesFinding(ranks: readonly RankFacts[]): Finding {
  const kinds = new Set(ranks.map(({ device }) => device.replace(/:.*/, '')));
  const perHost = [...new Map(ranks.map(({ host, devices }) => [host, devices]))];
  const says = perHost.map(([host, devices]) => `${host}: ${devices === 0 ? 'CPU' : `${devices} GPUs`}`).join(', ');
  return { check: 'devices', verdict: kinds.size === 1 ? 'ok' : 'bad', says };
}

function clocksFinding(ranks: readonly RankFacts[]): Finding {
  const worst = ranks.reduce((a, b) => (Math.abs(b.clockMs) > Math.abs(a.clockMs) ? b : a));
  const certainMs = Math.max(0, Math.abs(worst.clockMs) - worst.clockErrorMs);
  const says =
    certainMs === 0
      ? 'no difference that can be told'
      : `${worst.host} (rank ${worst.rank}) is ${Math.round(worst.clockMs)} ms off, ±${Math.ceil(worst.clockErrorMs)} ms`;
  return { check: 'clocks', verdict: certainMs < clockLimitMs ? 'ok' : 'bad', says };
}

/** Bus bandwidth as nccl-tests define it: 2 (n-1)/n of the bytes over the time. */
function bandwidthFinding({ bytes, seconds, ranks }: Bandwidth): Finding {
  const gigabytes = (2 * (ranks - 1) * bytes) / ranks / seconds / 1e9;
  const says = `all-reduce of ${Math.round(bytes / 1e6)} MB on ${ranks} ranks: ${(seconds * 1e3).toFixed(1)} ms, ${gigabytes.toFixed(2)} GB/s`;
  return { check: 'bandwidth', verdict: 'ok', says };
}

export const readyText = (findings: readonly Finding[]): string => {
  const bad = findings.filter(({ verdict }) => verdict === 'bad');
  return bad.length === 0 ? 'ready to train' : `not ready: ${bad.map(({ check }) => check).join(', ')}`;
};
