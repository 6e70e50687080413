/** `tierra plan` of several ranks of a described cluster, and the mesh it proposes. */
import { expect, test } from 'vitest';
import type { ClusterSummary } from '../../../src/engine/planCluster.ts';
import type { ProposedMesh } from '../../../src/engine/planMesh.ts';
import type { PlanSummary } from '../../../src/engine/planSummary.ts';
import { runCli } from '../cli/runCli.ts';
import { useWorkingFolder, write } from '../config/files.ts';

useWorkingFolder();

const machine = '--gpu-memory 80GiB --tflops 400'.split(' ');
const cluster = [...machine, ...'--cpu 100GiB --node-link 450GB/s --network 50'.split(' ')];

const llama = (parallel: string, train = '{ steps: 100, batchSize: 8, accumulate: 8 }') =>
  write(
    'run.yaml',
    `model: { preset: llama-3-8b, overrides: { vocab_size: 128256 } }
data: { sequenceLength: 4096 }
train: ${train}
parallel: ${parallel}
memory: { activations: recompute }
`,
  );

async function planned(...args: readonly string[]): Promise<ClusterSummary> {
  const { code, stdout, stderr } = await runCli(['plan', 'run.yaml', ...machine, '--json', ...args]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout);
}

test('three axes: what each rank keeps and receives, and what a step waits for', async () => {
  llama('{ pp: 2, tp: 2, zero: 1, reduce: last }');
  const { code, stdout, stderr } = await runCli(['plan', 'run.yaml', ...cluster, '--ranks', '16']);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toMatchInlineSnapshot(`
    "llama, 8.0B parameters in 32 layers, bf16
    16 ranks: dp 4 x pp 2 x tp 2, ZeRO 1, 1f1b
    8 micro-batches of 8 sequences of 4096 tokens a step over all ranks (262K tokens), activations recomputed

    It fits: 3.48 s a step, 75.3K tokens/s, limited by computing.

    Memory of each rank
                     budget   at rest    at peak   of budget                    units
      pp 0   GPU   80.0 GiB   6.9 GiB   27.7 GiB         35%   embedding to blocks.16
      pp 1   GPU   80.0 GiB   6.2 GiB   30.3 GiB         38%        blocks.17 to head

    What lives where, on each rank
                                         pp 0       pp 1
      parameters                     1009 MiB    905 MiB
      optimizer states                5.9 GiB    5.3 GiB
      gradients                       2.0 GiB    1.8 GiB
      activations, work              18.8 GiB   22.4 GiB
        of it whole, for all ranks   11.8 GiB   10.6 GiB
      buffers                             0 B        0 B

    Received by each rank in a step
                                                                 pp 0       pp 1
      tp: sums of activations and their gradients            52.0 GiB   45.5 GiB
      pp: activations and gradients at the edges of stages    512 MiB    512 MiB
      pp x tp: norms of all parts                             6.8 KiB    6.8 KiB
      dp: parameters gathered                                 3.0 GiB    2.7 GiB
      dp: gradients summed                                    5.9 GiB    5.3 GiB
      dp: norms                                               3.0 MiB    2.7 MiB

    Of one layer a rank receives 384 MiB for each micro-batch from its tensor group, 156 MiB each time its parameters are gathered, 312 MiB each time its gradients are summed over data ranks.

    A step of 3.48 s
      computing                                                       2.87 s   82%
      sums in tensor groups of 2                                      130 ms    4%
      data ranks, not hidden by computing                             128 ms    4%
      the pipeline's bubble (11.2% of all ranks' time on its clock)   367 ms   11%

    Machine as described; what no flag gives is assumed
      400 TFLOP/s, GPU link 54 GB/s, host memory 160 GB/s, optimizer 4.3B parameters/s
      450 GB/s into each GPU from its node of 8, 50 GB/s from other nodes
    "
  `);
}, 180_000);

test('parts of a model add up to the model', async () => {
  llama('{}');
  const whole = JSON.parse((await runCli(['plan', 'run.yaml', '--gpu-memory', '400GiB', '--json'])).stdout);
  const bytes = ({ tiers }: PlanSummary, field: 'parameterBytes' | 'stateBytes'): number =>
    tiers.gpu[field] + tiers.host[field] + tiers.nvme[field];
  for (const parallel of ['{ zero: 3 }', '{ tp: 8 }', '{ pp: 8 }', '{ pp: 2, tp: 2, zero: 1 }']) {
    llama(parallel);
    const { parts, zero } = await planned('--ranks', '8');
    for (const field of ['parameterBytes', 'stateBytes'] as const) {
      const sum = parts.reduce((all, { ranks, summary }) => all + ranks * bytes(summary, field), 0);
      // Norms are on all ranks of a line, and shards end with padding.
      expect(Math.abs(sum / bytes(whole, field) - 1), `${parallel} ${field}`).toBeLessThan(0.01);
    }
    for (const { gatheredBytes } of parts) expect(gatheredBytes > 0, parallel).toBe(zero > 0);
  }
}, 120_000);

const mixtral = (parallel: string, config = '') =>
  write(
    'run.yaml',
    `model: { architecture: mixtral, config: { hidden_size: 1024, intermediate_size: 3584, num_hidden_layers: 8, num_attention_heads: 16, num_key_value_heads: 8, vocab_size: 32000, max_position_embeddings: 32768, num_local_experts: 8, num_experts_per_tok: 2, sliding_window: null ${config} } }
data: { sequenceLength: 2048 }
train: { steps: 10, batchSize: 8 }
parallel: ${parallel}
`,
  );

test('experts of all ranks add up to those of the model; dropless bytes are those of even routing, and a note says so', async () => {
  const bytesOf = ({ parts }: ClusterSummary, what: string): number =>
    parts[0]!.traffic.find((one) => one.what === what)!.bytes;
  const parameters = ({ parts }: ClusterSummary): number => parts[0]!.summary.tiers.gpu.parameterBytes;
  mixtral('{}');
  const whole = await planned('--ranks', '4');
  mixtral('{ ep: 4 }');
  const spread = await planned('--ranks', '4');
  const experts = 8 * 8 * 3 * 1024 * 3584 * 2;
  expect(Math.abs((parameters(whole) - parameters(spread)) / (experts * (3 / 4)) - 1)).toBeLessThan(0.01);
  // 4096 tokens here, 2 rows each, of which 3 of 4 go elsewhere; there and back, forward and backward, in 8 layers.
  expect(bytesOf(spread, 'rows')).toBe(0.75 * 4096 * 2 * 1024 * 2 * 4 * 8);
  expect(spread.notes.join()).toContain('even routing');
  mixtral('{ ep: 4 }', ', expert_capacity_factor: 1.5');
  const slotted = await planned('--ranks', '4');
  expect(bytesOf(slotted, 'rows')).toBe(1.5 * bytesOf(spread, 'rows'));
  expect(slotted.notes.join()).not.toContain('even routing');
}, 180_000);

test('ranks that share a sequence hold parts of its activations; rows of scores take more than rings', async () => {
  const work = async (parallel: string, activations = 'recompute'): Promise<number> => {
    llama(parallel, '{ steps: 10, batchSize: 1 }');
    const { parts } = await planned('--set', 'memory.gpu=400GiB', '--set', `memory.activations=${activations}`);
    return parts[0]!.summary.tiers.gpu.activationBytes;
  };
  const kept = await work('{ tp: 2 }', 'keep');
  expect(await work('{ tp: 2, sp: 4, sequence: ring }', 'keep')).toBeLessThan(0.5 * kept);
  expect(await work('{ sp: 2, sequence: scores }')).toBeGreaterThan(await work('{ sp: 2, sequence: ring }'));
}, 180_000);

test.each([
  ['{ ep: 2 }', 'parallel.ep: 2 ranks would share the experts of a model that has none'],
  ['{ sp: 3, sequence: ring }', '4096 % 6 = 4'],
  ['{ sp: 64, sequence: heads }', '32 % 64 = 32'],
])('%s is refused as a run refuses it', async (parallel, reason) => {
  llama(parallel);
  const refused = await runCli(['plan', 'run.yaml', ...machine]);
  expect(refused).toMatchObject({ code: 1, stdout: '' });
  expect(refused.stderr).toContain(reason);
});

test('the bubble is that of the schedule, and more micro-batches make it smaller', async () => {
  const shareOf = async (accumulate: number, pipeline: string): Promise<number> => {
    llama(`{ pp: 4, pipeline: { ${pipeline} } }`, `{ steps: 10, batchSize: 1, accumulate: ${accumulate} }`);
    return (await planned('--ranks', '4', '--node-link', '100000')).time.bubbleShare;
  };
  // Stages are not quite equal: the last one has the head.
  expect(Math.abs((await shareOf(4, 'schedule: 1f1b')) - 3 / 7)).toBeLessThan(0.08);
  expect(await shareOf(16, 'schedule: 1f1b')).toBeLessThan(await shareOf(4, 'schedule: 1f1b'));
  expect(await shareOf(4, 'schedule: zb-h1')).toBeLessThan(await shareOf(4, 'schedule: 1f1b'));
}, 120_000);

test('slower links are named as what limits a step', async () => {
  llama('{ zero: 3 }');
  const { time } = await planned('--ranks', '16', '--network', '0.5', '--set', 'train.batchSize=16');
  expect(time.limiter).toBe('the network between nodes');
}, 180_000);

test('what does not fit is refused with the rank and with settings that help', async () => {
  llama('{ dp: 8 }');
  const refused = await runCli(['plan', 'run.yaml', ...machine, '--cpu', '1GiB', '--set', 'parallel.zero=0']);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toMatch(/^each rank: .* is short by /);
  const way = /set parallel\.zero: (\d)/.exec(refused.stderr)?.[1];
  expect(way, refused.stderr).toBeDefined();
  const helped = await runCli(['plan', 'run.yaml', ...machine, '--cpu', '1GiB', '--set', `parallel.zero=${way}`]);
  expect(helped).toMatchObject({ code: 0, stderr: '' });
}, 180_000);

test('degrees that do not multiply to the ranks are refused with the equation', async () => {
  llama('{ dp: 2, tp: 2 }');
  const refused = await runCli(['plan', 'run.yaml', ...cluster, '--ranks', '8']);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain('dp 2 x pp 1 x sp 1 x ep 1 x tp 2 = 4, but the world has 8 ranks');
});

test('the best mesh: settings that lead to the very plan that is shown', async () => {
  llama('{}', '{ steps: 10, batchSize: 64, accumulate: 2 }');
  const found = await runCli(['plan', 'run.yaml', ...cluster, '--ranks', '16', '--best-mesh']);
  expect(found).toMatchObject({ code: 0, stderr: '' });
  expect(found.stdout).toMatchInlineSnapshot(`
    "The best of 3712 meshes for 16 GPUs:

      parallel: { zero: 1, reduce: last }
      train: { batchSize: 16, accumulate: 8 }
      memory: { activations: keep }

    Why
      dp 16 x pp 1 x tp 1 x sp 1 = 16 GPUs: 68.4 GiB of 80.0 GiB per GPU, 100.0 % of the step computes.
      Whole copies of model and states do not fit: they need 152 GiB per GPU at least.
      ZeRO 1 divides optimizer states over 16 ranks.
      Data-parallel ranks exchange 42.1 GiB per GPU, hidden behind computation.

    The leaders by formulas, and as planned in full
                                   ZeRO   activations   states   micro-batches   GPU memory   a step   as planned
      dp 16 x pp 1 x tp 1 x sp 1      1          kept      GPU         8 of 16     68.4 GiB   3.95 s       4.92 s
      dp 8 x pp 1 x tp 1 x sp 2       1          kept      GPU         16 of 8     59.9 GiB   3.95 s       5.01 s
      dp 4 x pp 1 x tp 1 x sp 4       1          kept      GPU         32 of 4     55.7 GiB   3.95 s       5.20 s
      dp 2 x pp 1 x tp 1 x sp 8       3          kept      GPU         2 of 64     77.2 GiB   3.97 s       5.46 s

    In full:

    llama, 8.0B parameters in 32 layers, bf16
    16 ranks: dp 16, ZeRO 1
    8 micro-batches of 16 sequences of 4096 tokens a step over all ranks (524K tokens), activations kept

    It fits: 4.92 s a step, 107K tokens/s, limited by computing.

    Memory of each rank
                    budget   at rest    at peak   of budget
      all   GPU   80.0 GiB   6.5 GiB   77.2 GiB         97%

    What lives where, on each rank
                                          all
      parameters                      958 MiB
      optimizer states                5.6 GiB
      gradients                       1.9 GiB
      activations, work              68.8 GiB
        of it whole, for all ranks   44.9 GiB
      buffers                             0 B

    Received by each rank in a step
                                     all
      dp: parameters gathered   14.0 GiB
      dp: gradients summed      28.1 GiB
      dp: norms                 14.0 MiB

    Of one layer a rank receives 390 MiB each time its parameters are gathered, 780 MiB each time its gradients are summed over data ranks.

    A step of 4.92 s
      computing                             4.31 s   88%
      data ranks, not hidden by computing   604 ms   12%

    Machine as described; what no flag gives is assumed
      400 TFLOP/s, GPU link 54 GB/s, host memory 160 GB/s, optimizer 4.3B parameters/s
      450 GB/s into each GPU from its node of 8, 50 GB/s from other nodes
    "
  `);
  const snippet = /\n\n((?: {2}\w+: \{.*\}\n)+)/.exec(found.stdout)![1]!.replace(/^ {2}/gm, '');
  write(
    'run.yaml',
    `model: { preset: llama-3-8b, overrides: { vocab_size: 128256 } }
data: { sequenceLength: 4096 }
${snippet.replace('train: { ', 'train: { steps: 10, ')}`,
  );
  const again = await runCli(['plan', 'run.yaml', ...cluster, '--ranks', '16']);
  expect(again.stdout).toBe(found.stdout.slice(found.stdout.indexOf('In full:\n\n') + 10));
}, 120_000);

test('of the meshes that the formulas like best, the one whose full plan is fastest', async () => {
  write(
    'run.yaml',
    `model: { preset: llama-3-8b, overrides: { num_hidden_layers: 6, vocab_size: 128000 } }
data: { sequenceLength: 4096 }
train: { steps: 10, batchSize: 4, accumulate: 4 }
`,
  );
  const gpus = ['--gpu-memory', '32GiB', '--cpu', '200GiB', '--tflops', '300', '--node-link', '20', '--ranks', '8'];
  const found = await runCli(['plan', 'run.yaml', ...gpus, '--best-mesh', '--json']);
  expect(found).toMatchObject({ code: 0, stderr: '' });
  const { proposal, time } = JSON.parse(found.stdout);
  const { best, runnersUp } = proposal as ProposedMesh;
  const planned = [best, ...runnersUp].map(({ plannedSeconds }) => plannedSeconds);
  expect(planned.length).toBeGreaterThan(2);
  expect(planned).toEqual(planned.toSorted((a, b) => a - b));
  expect(best.plannedSeconds).toBe(time.stepSeconds);
  // A pipeline's last stage has the large head, which formulas of like layers do not know.
  expect(runnersUp.some(({ stepSeconds }) => stepSeconds < best.stepSeconds)).toBe(true);
}, 180_000);
