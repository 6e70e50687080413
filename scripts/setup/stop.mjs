/** How setup ends early: one error that carries the message, what was looked at, and the remedy. */

/**
 * `absent`: something this machine does not have. By hand that is a failure; during `npm install` it is not, because
 * planning, the simulator and the command line work without the addon.
 * `broken`: something is there and wrong, or was asked for by name. Always a failure.
 * @typedef {'absent' | 'broken'} StopKind
 */

export class SetupStop extends Error {
  /**
   * @param {StopKind} kind
   * @param {string} message
   * @param {{ looked?: readonly string[], remedy?: string }} [more]
   */
  constructor(kind, message, { looked = [], remedy } = {}) {
    super(message);
    this.name = 'SetupStop';
    /** @type {StopKind} */
    this.kind = kind;
    /** @type {readonly string[]} */
    this.looked = looked;
    /** @type {string | undefined} */
    this.remedy = remedy;
  }

  /** The whole message as it is printed. */
  text() {
    const lines = [this.message, ...this.looked.map((line) => `  - ${line}`)];
    if (this.remedy !== undefined) lines.push(`  -> ${this.remedy}`);
    return lines.join('\n');
  }
}
