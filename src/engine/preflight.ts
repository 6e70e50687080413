/** One rank of `tierra check`: meets the others as training would, measures, and lets rank 0 report. */
import { hostname } from 'node:os';
import { pathToFileURL } from 'node:url';
import { packageVersion } from '../core/package.ts';
import { type Communicator, connect } from '../dist/index.ts';
import type { Bandwidth, RankFacts } from '../dist/launch/preflight.ts';
import { native } from '../native/load.ts';
import { ops, scope } from '../tensor/index.ts';
import { launch } from './launch.ts';

/** What rank 0 prints for `tierra check` to read. */
export const reportMark = 'TIERRA_CHECK ';

const elements = 4 << 20;
const rounds = 7;

export function runPreflight(): void {
  const { world, device, backend } = launch({ train: { steps: 1 } });
  const peers = connect(world, {
    device: device as Parameters<typeof connect>[1]['device'],
    backend,
    timeoutSeconds: Number(process.env.TIERRA_CHECK_SECONDS ?? 60),
  });
  const { buildInfo, contract, deviceCount } = native();
  const clock = clockAgainstFirst(peers);
  const facts: RankFacts = {
    rank: world.rank,
    host: hostname(),
    versions: {
      tierra: packageVersion(),
      node: process.versions.node,
      libtorch: buildInfo.torchVersion,
      'addon contract': String(contract),
      backend,
    },
    devices: deviceCount(),
    device,
    ...clock,
  };
  const ranks = peers.exchange(facts);
  const bandwidth = world.size === 1 ? null : allReduceBandwidth(peers);
  if (world.rank === 0) process.stdout.write(`${reportMark}${JSON.stringify({ ranks, bandwidth })}\n`);
  peers.dispose();
}

/** Rank 0's time is read between two readings of our own (Cristian 1989); the best of a few. */
function clockAgainstFirst(peers: Communicator): { clockMs: number; clockErrorMs: number } {
  let best = { clockMs: 0, clockErrorMs: Number.POSITIVE_INFINITY };
  for (let round = 0; round < rounds; round++) {
    const before = Date.now();
    // Rank 0 reads its clock only after it has heard of our first reading.
    peers.exchange(null);
    const theirs = peers.share(Date.now(), 0);
    const after = Date.now();
    const errorMs = (after - before) / 2 + 1;
    if (errorMs < best.clockErrorMs) best = { clockMs: (before + after) / 2 - theirs, clockErrorMs: errorMs };
  }
  return peers.world.rank === 0 ? { clockMs: 0, clockErrorMs: 0 } : best;
}

/** The median of a few, after one to warm up. */
function allReduceBandwidth(peers: Communicator): Bandwidth {
  return scope(() => {
    const tensor = ops.zeros([elements], { device: peers.device });
    const seconds = Array.from({ length: rounds }, () => {
      peers.all.barrier();
      const began = performance.now();
      peers.all.allReduce(tensor).wait();
      ops.toArray(ops.slice(tensor, 0, 0, 1)); // a GPU is done only when something is read
      return (performance.now() - began) / 1e3;
    })
      .slice(1)
      .sort((a, b) => a - b);
    return { bytes: elements * 4, seconds: seconds[seconds.length >> 1]!, ranks: peers.world.size };
  });
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) runPreflight();
