/** One line of the doctor: what was looked at, in which state it is, and what mends it. */

/**
 * `ok`: fine. `off`: absent or limited, and Tierra works without it in part. `broken`: there and wrong.
 * @typedef {{ state: 'ok' | 'off' | 'broken', name: string, found: string, remedy?: string }} Finding
 */

/** @param {string} name @param {string} found @returns {Finding} */
export const ok = (name, found) => ({ state: 'ok', name, found });

/** @param {string} name @param {string} found @param {string} remedy @returns {Finding} */
export const off = (name, found, remedy) => ({ state: 'off', name, found, remedy });

/** @param {string} name @param {string} found @param {string} remedy @returns {Finding} */
export const broken = (name, found, remedy) => ({ state: 'broken', name, found, remedy });

/** @param {readonly Finding[]} findings */
export function formatFindings(findings) {
  const width = Math.max(...findings.map(({ name }) => name.length));
  const lines = findings.flatMap(({ state, name, found, remedy }) => {
    const [first, ...rest] = found.split('\n');
    const indent = ' '.repeat(8);
    return [
      `${state.padEnd(6)}  ${name.padEnd(width)}  ${first}`,
      ...rest.map((line) => `${indent}  ${line}`),
      ...(remedy === undefined ? [] : [`${indent}-> ${remedy}`]),
    ];
  });
  const count = (/** @type {string} */ state) => findings.filter((finding) => finding.state === state).length;
  return `${lines.join('\n')}\n${count('ok')} ok, ${count('off')} off, ${count('broken')} broken`;
}

/** Bytes in the largest binary unit that keeps a digit before the point. @param {number} bytes */
export function formatBytes(bytes) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  const value = bytes / 2 ** (10 * power);
  return `${value >= 10 || power === 0 ? Math.round(value) : value.toFixed(1)} ${units[power]}`;
}
