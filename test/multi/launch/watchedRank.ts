/** A rank that watches and is watched, and does what its arguments say: `folder misfortune rank`. */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { noteStep, noteUnit, whileWaiting } from '../../../src/core/whereabouts.ts';
import { worldFromEnvironment } from '../../../src/dist/launch/environment.ts';
import { watchPeers } from '../../../src/dist/watch/watch.ts';

const [folder, misfortune, victim] = process.argv.slice(2) as [string, string, string];
const sleep = (ms: number): void => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

/** Where ranks meet: files in a folder. */
const store = {
  set(key: string, value: string): void {
    writeFileSync(path.join(folder, `${key}.new`), value);
    renameSync(path.join(folder, `${key}.new`), path.join(folder, key));
  },
  get(key: string): string {
    for (;;) {
      try {
        return readFileSync(path.join(folder, key), 'utf8');
      } catch {
        sleep(20);
      }
    }
  },
};

const world = worldFromEnvironment(process.env);
const watch = watchPeers(world, store);
console.log('pid', process.pid);
noteStep(12);
noteUnit('blocks.3');
store.set(`here-${world.rank}`, '');
for (let rank = 0; rank < world.size; rank++) store.get(`here-${rank}`);
// One beat at least, so that the others know where this rank is.
sleep(2_500);

if (String(world.rank) === victim) {
  if (misfortune === 'kill') process.kill(process.pid, 'SIGKILL');
  if (misfortune === 'stop') process.kill(process.pid, 'SIGSTOP');
  if (misfortune === 'throw') throw new Error('something of its own');
  if (misfortune === 'spin') for (;;) sleep(1_000);
}
if (misfortune === 'none') {
  sleep(world.rank * 300);
  console.log('done');
} else if (misfortune === 'explain') {
  // A collective that fails by itself asks who was the cause.
  const verdict = watch.verdict(30_000);
  console.log('verdict', verdict?.rank);
  process.exit(1);
} else {
  // A main thread that would wait for ever, as in a collective.
  whileWaiting('allReduce of "all"', () => sleep(1e9));
}
