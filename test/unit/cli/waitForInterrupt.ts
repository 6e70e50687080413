import { writeSync } from 'node:fs';
import { listenForInterrupts } from '../../../src/cli/interrupt.ts';

/** A program that works until it is asked to stop, and, when stubborn, goes on after that. */
using interrupts = listenForInterrupts();
const timer = setInterval(() => {}, 1000);
interrupts.onQuit(() => writeSync(1, 'undone\n'));
interrupts.signal.addEventListener('abort', () => {
  writeSync(1, 'asked\n');
  if (process.argv[2] === 'stubborn') return;
  clearInterval(timer);
  process.exitCode = interrupts.exitCode;
});
writeSync(1, 'ready\n');
await new Promise<void>((resolve) => {
  interrupts.signal.addEventListener('abort', () => process.argv[2] === 'polite' && resolve());
});
