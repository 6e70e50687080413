/**
 * A script that does not know how it was started: it finds its rank, meets the others, adds up what each brings, and says
 * who it was.
 */
import { writeSync } from 'node:fs';
import { connect } from '../../../src/dist/index.ts';
import { launch, ops } from '../../../src/index.ts';

const { world, backend, threads, device } = launch({ device: 'cpu', train: { steps: 1 } });
const peers = connect(world, { device: 'cpu', backend, timeoutSeconds: 120 });
const sum = ops.fromArray([2 ** world.rank], [1]);
peers.all.allReduce(sum).wait();
const { launcher, rank, size, localRank, localSize } = world;
const says = { launcher, rank, size, localRank, localSize, backend, device, threads, sum: sum.item() };
// In one write: launchers mix what ranks print.
writeSync(1, `RESULT ${JSON.stringify(says)}\n`);
peers.dispose();
