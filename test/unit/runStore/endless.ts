/** A process that records steps until it is killed: `store firstStep steps`. Prints each step and when it had been recorded. */
import { hostname } from 'node:os';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { StoreRecord } from '../../../src/telemetry/runStore/storeRecord.ts';

const [file = '', name = '', from = '0', steps = '1'] = process.argv.slice(2);
const record = new StoreRecord({
  file,
  name,
  output: path.join(path.dirname(file), name),
  config: {},
  git: null,
  machine: {},
  host: hostname(),
  onTrouble: (text) => process.stderr.write(`${text}\n`),
});
const run = { name, totalSteps: 1, parameters: 1, device: 'cpu', precision: 'fp32' };
record.begin({ ...run, completedSteps: Number(from) });
for (let step = Number(from) + 1; step <= Number(from) + Number(steps); step++) {
  const atMs = Date.now();
  record.step({
    step,
    loss: step,
    gradientNorm: 1,
    clipFactor: 1,
    learningRate: 1,
    lossScale: null,
    tokens: 1,
    seconds: 0.005,
  });
  process.stdout.write(`${step} ${atMs}\n`);
  await setTimeout(4);
}
record.finish('completed');
record.dispose();
