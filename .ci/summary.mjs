/**
 * Prints "N passed, N failed, N skipped" from vitest's JSON report: `node summary.mjs REPORT FAILED_CHECKS TESTS_EXIT`. A test
 * file that did not load and a failed lint or type check count as one failure each, and so does a run that failed
 * without a failing test (an unhandled error, a missing report).
 */
import { existsSync, readFileSync } from 'node:fs';

const [report = '', failedChecks = '0', testsExit = '1'] = process.argv.slice(2);

/** @typedef {{ name: string, status: string, message: string, assertionResults: { status: string, fullName: string }[] }} TestFile */

/** @type {TestFile[]} */
const files = existsSync(report) ? JSON.parse(readFileSync(report, 'utf8')).testResults : [];
const tests = files.flatMap(({ name, assertionResults }) => assertionResults.map((test) => ({ ...test, file: name })));
const unloaded = files.filter(
  ({ status, assertionResults }) => status === 'failed' && assertionResults.every((test) => test.status !== 'failed'),
);

const failedTests = tests.filter(({ status }) => status === 'failed');
const passed = tests.filter(({ status }) => status === 'passed').length;
const skipped = tests.length - passed - failedTests.length;
let failed = failedTests.length + unloaded.length + Number(failedChecks);
if (failed === 0 && testsExit !== '0') failed = 1;

for (const { file, fullName } of failedTests) console.log(`failed: ${file}: ${fullName}`);
for (const { name, message } of unloaded) console.log(`failed to run: ${name}: ${message.split('\n')[0]}`);
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exitCode = failed === 0 ? 0 : 1;
