/** Prints vitest's JSON reports as one row per test file, and what each failed test said. Arguments: the reports. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';

const count = (/** @type {any[]} */ tests, /** @type {string} */ status) =>
  tests.filter((test) => test.status === status).length;
let failures = 0;
const header = ['file', 'passed', 'failed', 'skipped', 'seconds'];
const rows = [header];
/** @type {string[]} */
const said = [];

for (const report of process.argv.slice(2)) {
  if (!existsSync(report)) {
    said.push(`no report ${report}: the tests did not run to their end`);
    failures++;
    continue;
  }
  for (const file of JSON.parse(readFileSync(report, 'utf8')).testResults) {
    const tests = file.assertionResults;
    const failed = count(tests, 'failed') + (file.status === 'failed' && count(tests, 'failed') === 0 ? 1 : 0);
    const skipped = tests.length - count(tests, 'passed') - count(tests, 'failed');
    const seconds = ((file.endTime - file.startTime) / 1000).toFixed(1);
    const name = path.relative(process.cwd(), file.name);
    rows.push([name, String(count(tests, 'passed')), String(failed), String(skipped), seconds]);
    failures += failed;
    if (failed > 0 && file.message) said.push(`${name}: ${firstLines(file.message)}`);
    for (const test of tests.filter((/** @type {any} */ test) => test.status === 'failed')) {
      said.push(`${name} > ${test.fullName}: ${firstLines(test.failureMessages?.[0] ?? '')}`);
    }
  }
}

const widths = header.map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
for (const row of rows) {
  const cells = row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)));
  console.log(cells.join('  '));
}
const shown = 12;
for (const line of said.slice(0, shown)) console.log(`\n${line}`);
if (said.length > shown) console.log(`\nand ${said.length - shown} more failures: see the reports`);
process.exitCode = failures === 0 ? 0 : 1;

/** @param {string} text */
function firstLines(text) {
  return text.split('\n').slice(0, 3).join('\n  ');
}
