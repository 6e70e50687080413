/** A script whose ranks do not have the same settings: `differing.ts <micro-batch of rank 0> <of rank 1>`. */
import { launch, meshOf } from '../../../src/engine/index.ts';

const { rank } = launch({ device: 'cpu' }).world;
const batchSize = Number(process.argv[2 + rank]);
// What each keeps where is its own matter.
const memory = rank === 0 ? {} : { gpu: '1GiB' };
const context = launch({ device: 'cpu', train: { steps: 1, batchSize }, memory });
console.log(meshOf(context).layout.describe());
