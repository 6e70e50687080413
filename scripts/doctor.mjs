#!/usr/bin/env node
/** Says what setup would find, in order, each line ok, off or broken with one remedy: `npx tierra doctor`. */
import path from 'node:path';
import { checkDisk } from './doctor/disk.mjs';
import { formatFindings } from './doctor/finding.mjs';
import { checkLibraries } from './doctor/libraries.mjs';
import { checkMachine } from './doctor/machine.mjs';
import { checkPrograms } from './doctor/programs.mjs';
import { placesIn } from './setup/paths.mjs';

const usage = `Usage: tierra doctor [--path DIR] [--json]
  --path DIR  check this folder for the disk tier, and measure it for two seconds
  --json      print the findings as JSON
`;

/** @param {readonly string[]} args @returns {{ folder: string | undefined, json: boolean } | undefined} */
function parse(args) {
  const options = { folder: /** @type {string | undefined} */ (undefined), json: false };
  for (let i = 0; i < args.length; i++) {
    if (args[i] === '--json') options.json = true;
    else if (args[i] === '--path' && args[i + 1] !== undefined) options.folder = args[++i];
    else if (args[i]?.startsWith('--path=')) options.folder = args[i]?.slice('--path='.length);
    else return undefined;
  }
  return options;
}

const options = parse(process.argv.slice(2));
if (options === undefined) {
  process.stdout.write(usage);
  process.exitCode = process.argv.includes('--help') ? 0 : 2;
} else {
  const measure = options.folder !== undefined;
  const findings = [
    ...checkPrograms(process.env),
    ...checkLibraries(placesIn(), process.env),
    ...checkMachine(),
    await checkDisk(path.resolve(options.folder ?? '.'), { measure }),
  ];
  process.stdout.write(`${options.json ? JSON.stringify(findings, null, 2) : formatFindings(findings)}\n`);
  process.exitCode = findings.some(({ state }) => state === 'broken') ? 1 : 0;
}
