import type { RunRecord } from './record.ts';

/** One record that is kept in several places. Its id is the first that has one. */
export function several(records: readonly RunRecord[]): RunRecord {
  const each = (call: (record: RunRecord) => void): void => {
    for (const record of records) call(record);
  };
  const dispose = (): void => each((record) => record.dispose());
  return {
    get id() {
      return records.find(({ id }) => id !== null)?.id ?? null;
    },
    begin: (start) => each((record) => record.begin(start)),
    step: (row) => each((record) => record.step(row)),
    event: (text, event) => each((record) => record.event(text, event)),
    evaluation: (row) => each((record) => record.evaluation(row)),
    checkpoint: (row) => each((record) => record.checkpoint(row)),
    memory: (step, uses) => each((record) => record.memory(step, uses)),
    movement: (report) => each((record) => record.movement(report)),
    finish: (outcome, reason) => each((record) => record.finish(outcome, reason)),
    dispose,
    [Symbol.dispose]: dispose,
  };
}
