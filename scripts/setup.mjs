#!/usr/bin/env node
/**
 * Finds or installs libtorch and builds the addon: `npm install` runs it with `--auto`, `npx tierra setup` and
 * `npm run build:native` by hand. Plain JavaScript without dependencies, since nothing is compiled or certain yet.
 */
import { openOutput } from './setup/output.mjs';
import { placesIn } from './setup/paths.mjs';
import { SetupStop } from './setup/stop.mjs';

const usage = `Usage: tierra setup [--yes] [--force]
  --yes    also install the large CUDA build of torch where there is a GPU and no torch
  --force  build again although nothing changed
Variables: TIERRA_LIBTORCH, TIERRA_TORCH=skip|cpu|cuda, TIERRA_NATIVE=skip|require, TIERRA_JOBS, CXX (docs/install.md)
`;
const flags = process.argv.slice(2);
const known = ['--auto', '--yes', '--force', '--help'];

/** @returns {Promise<number>} the exit code */
async function main() {
  const unknown = flags.find((flag) => !known.includes(flag));
  if (unknown !== undefined || flags.includes('--help')) {
    process.stdout.write(unknown === undefined ? usage : `tierra: unknown option ${unknown}\n${usage}`);
    return unknown === undefined ? 0 : 2;
  }
  const auto = flags.includes('--auto');
  const env = process.env;
  if (env.TIERRA_NATIVE === 'skip') {
    process.stdout.write('tierra: TIERRA_NATIVE=skip: the addon is not built; `npx tierra setup` builds it\n');
    return 0;
  }
  const places = placesIn();
  const output = openOutput(places.log);
  try {
    // Imported late: on another platform even a syntax newer than its Node must not get in the way of the skip above.
    const { setUp } = await import('./setup/flow.mjs');
    const options = { confirmed: flags.includes('--yes'), force: flags.includes('--force') };
    const outcome = await setUp({ places, env, output, ...options });
    if (outcome === 'current') process.stdout.write('tierra: the addon is up to date\n');
    return 0;
  } catch (error) {
    if (!(error instanceof SetupStop)) throw error;
    output.say(error.text());
    if (error.kind === 'absent' && auto && env.TIERRA_NATIVE !== 'require') {
      output.say('planning and the command line work without the addon; training needs it: `npx tierra setup`');
      return 0;
    }
    return 1;
  }
}

process.exitCode = await main();
