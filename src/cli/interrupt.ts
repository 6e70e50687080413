/** Exit codes of a process that a signal ended: 128 plus its number. */
export const signalExitCodes = { SIGINT: 130, SIGTERM: 143 } as const;
type Name = keyof typeof signalExitCodes;

export interface Interrupts extends Disposable {
  readonly signal: AbortSignal;
  /** The code of the signal that came first, or undefined. */
  readonly exitCode: number | undefined;
  /** Run when a second signal ends the process at once. */
  readonly onQuit: (undo: () => void) => void;
}

/** The first Ctrl-C asks the work to stop; the second ends the process. */
export function listenForInterrupts(): Interrupts {
  const controller = new AbortController();
  const undos: (() => void)[] = [];
  let exitCode: number | undefined;
  const on = (name: Name): void => {
    if (exitCode !== undefined) {
      for (const undo of undos) undo();
      process.exit(signalExitCodes[name]);
    }
    exitCode = signalExitCodes[name];
    controller.abort();
  };
  const names = Object.keys(signalExitCodes) as Name[];
  for (const name of names) process.on(name, on);
  return {
    signal: controller.signal,
    get exitCode() {
      return exitCode;
    },
    onQuit: (undo) => undos.push(undo),
    [Symbol.dispose]() {
      for (const name of names) process.off(name, on);
    },
  };
}
