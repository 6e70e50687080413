/**
 * One script for every way to divide a model: the configuration says which.
 *
 *     npx tierra run -n 4 examples/04-parallel/gpt.ts examples/04-parallel/configs/tp.yaml
 *
 * In a project of your own, import from 'tierra'.
 */
import { readFileSync } from 'node:fs';
import { data, initialize, languageTask, launch, models, Trainer, underTensorParallel } from '../../src/index.ts';

const length = 64;
const [file = `${import.meta.dirname}/configs/serial.yaml`] = process.argv.slice(2);

// What all runs have in common. In float64, so that one sees how little they differ.
const context = launch(file, [
  ...['device=cpu', 'precision=fp64', 'runtime.threads=1', 'runtime.optimizerThreads=1'],
  ...['train.steps=10', 'train.batchSize=4', 'train.accumulate=4', 'train.clipNorm=1'],
  ...['optimizer.learningRate=3e-3', 'schedule.name=constant', 'schedule.warmupSteps=0'],
]);
const { config, device } = context;

// A small GPT over bytes, unless the configuration describes another model.
const shape = { n_embd: 64, n_layer: 4, n_head: 4, n_positions: length, vocab_size: 256, tie_word_embeddings: false };
const noDropout = { embd_pdrop: 0, attn_pdrop: 0, resid_pdrop: 0 };
const settings = config.model ?? { architecture: 'gpt2', config: { ...shape, ...noDropout } };

// Built where the layers know which part of each matrix is theirs (tp). Units (pp), tokens (sp), experts (ep) and copies (dp) are divided below.
const { model } = underTensorParallel(context, () => models.buildModel(settings));
using engine = initialize({ context, model });

// Every rank reads the text, and takes its rows of each batch. Those that share sequences take the same rows.
const bytes = readFileSync(new URL('../../LICENSE', import.meta.url));
const windows = Array.from({ length: Math.floor((bytes.length - 1) / length) }, (_, i) => i * length);
const { rank, size } = engine.ranks.rows;
const batches = data.fromIndexable(windows, {
  batchSize: config.train.batchSize,
  seed: config.seed,
  rank,
  ranks: size,
  collate: (starts: readonly number[]) => {
    const text = (shift: number): BigInt64Array =>
      BigInt64Array.from(starts.flatMap((at) => [...bytes.subarray(at + shift, at + shift + length)].map(BigInt)));
    return { inputs: text(0), labels: text(1), shape: [starts.length, length] as const };
  },
});

const first = engine.ranks.everyone.rank === 0;
const trainer = new Trainer({
  engine,
  task: languageTask(device),
  data: batches,
  totalSteps: config.train.steps!,
  hooks: [
    {
      afterStep(_, { step, loss, gradientNorm }) {
        if (first) console.log(`step ${step}  loss ${loss.toFixed(10)}  norm ${gradientNorm.toFixed(10)}`);
      },
    },
  ],
});
await trainer.fit();
if (first) {
  const megabytes = engine.store.use().map(({ tier, usedBytes }) => `${tier} ${(usedBytes / 1e6).toFixed(1)} MB`);
  console.log(`the first rank keeps ${megabytes.join(', ')} of ${model.parameterCount} parameters and their states`);
}
