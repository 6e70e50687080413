/** Where setup's words go: short lines to the screen, everything to `build/setup.log`. */
import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

/**
 * @typedef {object} Output
 * @property {(line: string) => void} say       one line, on the screen and in the log
 * @property {(text: string) => void} log       to the log only
 * @property {(line: string) => void} progress  replaces itself on a terminal, is not printed elsewhere
 * @property {() => string} logged              what this run has logged
 */

/** @param {string} logFile @param {NodeJS.WriteStream} [screen] @returns {Output} */
export function openOutput(logFile, screen = process.stdout) {
  let started = false;
  let onProgressLine = false;
  const log = (/** @type {string} */ text) => {
    if (!started) {
      mkdirSync(path.dirname(logFile), { recursive: true });
      writeFileSync(logFile, '');
      started = true;
    }
    appendFileSync(logFile, text);
  };
  return {
    log,
    say(line) {
      screen.write(`${onProgressLine ? '\r\x1b[K' : ''}tierra: ${line}\n`);
      onProgressLine = false;
      log(`${line}\n`);
    },
    progress(line) {
      if (!screen.isTTY) return;
      screen.write(`\r\x1b[Ktierra: ${line}`);
      onProgressLine = true;
    },
    logged: () => (started ? readFileSync(logFile, 'utf8') : ''),
  };
}
