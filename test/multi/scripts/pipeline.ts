/** Runs every case it is given on this rank of a pipeline. */
import type { Communicator } from '../../../src/dist/index.ts';
import { label } from '../../../src/dist/pipeline/index.ts';
import { native } from '../../../src/native/load.ts';
import { type PipelineCase, type PipelineRun, trainCase } from '../pipelineCases.ts';

export function run(communicator: Communicator, cases: readonly PipelineCase[]): PipelineRun[] {
  return cases.map((one) => {
    const before = native().liveTensors();
    const result = trainCase(one, communicator.all, ({ action }) => label(action));
    return { ...result, live: native().liveTensors() - before + native().liveDeferred() };
  });
}
