/**
 * A run that is killed and started again: `killVictim.ts <folder> <steps>`. All three tiers are in use, a checkpoint is begun
 * after every second step and written behind the next ones. Appends to `<folder>/steps.log` a line per step, and at the end
 * one with a hash of every weight and state.
 */
import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { faultPoint } from '../../src/core/faults.ts';
import { findNewest, removeLeftovers } from '../../src/engine/checkpoint/index.ts';
import { type ModelBytes, placementNamed } from '../cases/placements.ts';
import { nowhere, startRun } from '../native/checkpointRuns.ts';
import { batchOf, hashesOf, trainStep } from '../native/tiersSupport.ts';

const [folder, steps] = [process.argv[2]!, Number(process.argv[3])];
const log = path.join(folder, 'steps.log');
const output = path.join(folder, 'out');

/** Every bit of a number. */
const hex = (value: number): string => Buffer.from(new Float64Array([value]).buffer).toString('hex');

const bytesFile = path.join(folder, 'bytes.json');
const placement = placementNamed('parameters and states mostly on disk');
const memory = existsSync(bytesFile)
  ? placement.memory(JSON.parse(readFileSync(bytesFile, 'utf8')) as ModelBytes, path.join(folder, 'swap'))
  : {};
await using run = startRun(output, { ...memory, checkpoint: '100KiB' }, 'bf16');
const { engine, checkpointer } = run;
const batch = batchOf(0);
engine.prepare(batch as never);
for (const { path: left, removed } of removeLeftovers(output))
  if (removed) console.log(`removed ${path.basename(left)}`);
faultPoint('resume.find');
const { found, passedOver } = await findNewest(output);
for (const { path: passed, reason } of passedOver) console.log(`passed over ${path.basename(passed)}: ${reason}`);
if (found !== undefined) {
  faultPoint('resume.load');
  run.load(found.path);
  faultPoint('resume.loaded');
}
console.log(`from ${engine.steps}`);
while (engine.steps < steps) {
  const { losses, norm } = trainStep(engine);
  appendFileSync(log, `${engine.steps} ${losses.map(hex).join(',')} ${hex(norm)}\n`);
  faultPoint('step.done');
  if (engine.steps % 2 === 0) await checkpointer.save(nowhere, losses[0]);
  // Lets the thread that commits be heard, as a training loop does.
  await new Promise((resolve) => setImmediate(resolve));
}
await checkpointer.finish();
const hash = createHash('sha256')
  .update(JSON.stringify(hashesOf(engine)))
  .digest('hex');
appendFileSync(log, `end ${engine.steps} ${hash}\n`);
console.log('finished');
