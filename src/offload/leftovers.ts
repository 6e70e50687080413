/** Swap files of killed runs that this process has removed: whoever opens a folder first removes them, whoever trains says so. */
const removed = new Set<string>();

export function noteLeftovers(files: readonly string[]): void {
  for (const file of files) removed.add(file);
}

export const removedLeftovers = (): readonly string[] => [...removed];
