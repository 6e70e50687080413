/** Ranks that add up numbers for many steps, until one of them meets with a misfortune: `misfortune rank step`. */
import { isTierraError } from '../../../src/core/errors.ts';
import { noteStep } from '../../../src/core/whereabouts.ts';
import { connect } from '../../../src/dist/index.ts';
import { launch, ops } from '../../../src/index.ts';

const [misfortune, victim, at] = process.argv.slice(2);
const { world, backend } = launch({ device: 'cpu', train: { steps: 1 } });
const restarted = process.env.TIERRA_RESTART !== '0';
const strange = misfortune === 'disagree' && String(world.rank) === victim;
try {
  const facts = { config: { seed: strange ? 2 : 1 } };
  const peers = connect(world, { device: 'cpu', backend, timeoutSeconds: 120, facts });
  for (let step = 1; step <= 40; step++) {
    noteStep(step);
    if (!restarted && String(world.rank) === victim && String(step) === at) {
      if (misfortune === 'kill') process.kill(process.pid, 'SIGKILL');
      if (misfortune === 'throw') throw new Error('a mistake of its own');
    }
    const tensor = ops.fromArray([world.rank], [1]);
    peers.all.allReduce(tensor).wait();
    tensor.dispose();
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
  }
  peers.dispose();
  console.log('finished');
} catch (error) {
  if (!isTierraError(error)) throw error;
  console.log(error.code, error.message);
  process.exit(1);
}
