import path from 'node:path';

/** A path as a person would type it here: relative where that leads below the working directory. */
export function shown(location: string): string {
  const relative = path.relative(process.cwd(), location);
  return relative === '' || relative.startsWith('..') || path.isAbsolute(relative) ? location : relative;
}
