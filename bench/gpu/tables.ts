/** What suite.ts runs. `seconds` is a guess at a row's whole process, to decide whether it still fits into the time given. */

export interface Entry {
  readonly label: string;
  readonly program: 'tierra' | 'torch';
  readonly row: Readonly<Record<string, unknown>>;
  readonly seconds: number;
  /** Processes, one GPU each. */
  readonly ranks?: number;
  /** The peer's file; default: peer.py. */
  readonly file?: string;
  /** In the first round alone. */
  readonly once?: boolean;
}

const entryFor =
  (program: Entry['program'], name: string) =>
  (label: string, row: Entry['row'], more: Partial<Entry> = {}): Entry => ({
    label: `${name}, ${label}`,
    program,
    row,
    seconds: 45,
    ...more,
  });
const tierra = entryFor('tierra', 'Tierra');
const torch = entryFor('torch', 'PyTorch');

const tiny = { preset: 'gpt2', batch: 1, length: 1024, steps: 60, clipNorm: 1 };
const small = { preset: 'llama-1.1b', batch: 8, length: 2048, steps: 12, clipNorm: 1 };
const middle = { preset: 'llama-3.2-3b', batch: 4, length: 4096, steps: 8, clipNorm: 1000 };
const recompute = { activations: 'recompute' };
const card24 = { gpu: '24GiB', cpu: '100GiB', ...recompute };
const large = { preset: 'llama-2-7b', length: 4096, steps: 6, clipNorm: 1000 };

const saved = {
  ...tiny,
  batch: 16,
  microBatches: 8,
  steps: 42,
  memory: { gpu: '24GiB', cpu: '64GiB', ...recompute },
};

/** 3.6 billion parameters: the shape of Llama 3.2 3B with a head of its own, which PyTorch's tools ask for. */
const untied = { ...middle, overrides: { tie_word_embeddings: false }, memory: recompute };
const onTwo = { ranks: 2, seconds: 60 };
const parallelPeer = { ...onTwo, file: 'peer_parallel.py' };
/** The same width, of which a token uses two of eight experts: 3.1 billion parameters. */
const experts = {
  ...middle,
  overrides: {
    model_type: 'mixtral',
    intermediate_size: 2048,
    num_hidden_layers: 12,
    num_local_experts: 8,
    num_experts_per_tok: 2,
    tie_word_embeddings: false,
  },
  memory: recompute,
};

export const tables = {
  resident: {
    title: 'Llama 1.1B, 8×2048, bf16, nothing offloaded',
    entries: [
      tierra('resident', { ...small, memory: {} }),
      tierra('chunks, all on the GPU', { ...small, memory: { gpu: '70GiB' } }),
      torch('torch.compile', { ...small, mode: 'compile' }, { seconds: 90 }),
      torch('eager', { ...small, mode: 'eager' }),
    ],
  },
  small: {
    title: 'GPT-2 124M, 1×1024, bf16',
    entries: [
      tierra('without graphs', { ...tiny, graphs: 'never' }),
      tierra('with graphs', { ...tiny, graphs: 'always' }),
      tierra('graphs by themselves', { ...tiny, graphs: 'auto' }),
      torch('eager', { ...tiny, mode: 'eager' }),
      torch('torch.compile', { ...tiny, mode: 'compile' }, { seconds: 90 }),
      torch('torch.compile, reduce-overhead', { ...tiny, mode: 'reduce-overhead' }, { seconds: 90 }),
    ],
  },
  offload: {
    title: 'Llama 3.2B, 4×4096, recompute',
    entries: [
      tierra('resident', { ...middle, memory: recompute }),
      tierra('24 GiB, no step clipped', { ...middle, memory: card24 }, { seconds: 50 }),
      tierra(
        '24 GiB, every step clipped',
        // Long enough to stop guessing, and to be measured after that.
        { ...middle, steps: 18, clipNorm: 1e-3, memory: card24 },
        { seconds: 60 },
      ),
      torch(
        'FSDP2 with CPU offload',
        { ...middle, mode: 'fsdp2', recompute: true, steps: 5 },
        { seconds: 100, once: true },
      ),
      torch('offload by hand', { ...middle, mode: 'handmade', steps: 5 }, { seconds: 90 }),
    ],
  },
  quarter: {
    title: 'Llama 3.2B, 1×4096, recompute, 24 GiB',
    entries: [
      tierra('no step clipped', { ...middle, batch: 1, steps: 14, memory: card24 }, { seconds: 50 }),
      tierra('every step clipped', { ...middle, batch: 1, steps: 24, clipNorm: 1e-3, memory: card24 }, { seconds: 50 }),
      torch('offload by hand', { ...middle, batch: 1, mode: 'handmade', steps: 6 }, { seconds: 90 }),
    ],
  },
  consumer: {
    title: 'Consumer cards: 16K tokens a step',
    entries: [
      tierra(
        'Llama 7B, 8 GiB',
        { ...large, batch: 4, memory: { gpu: '8GiB', cpu: '112GiB', activations: 'host' } },
        { seconds: 130 },
      ),
      tierra(
        'GPT-2 12B, 10 GiB with disk',
        {
          preset: 'gpt2-12b',
          batch: 1,
          length: 2048,
          steps: 4,
          clipNorm: 1000,
          memory: {
            gpu: '10GiB',
            cpu: '112GiB',
            nvme: { path: '/tmp/tierra-swap', size: '50GiB' },
            activations: 'host',
          },
        },
        { seconds: 230, once: true },
      ),
    ],
  },
  checkpoints: {
    // The bytes of 20 steps' work must be written in that time: here 1.7 GB in some 12 s. Both rows give the mean.
    title: 'GPT-2 124M, 8×16×1024 tokens a step: a checkpoint behind training every 20 steps',
    entries: [
      tierra('without', { ...saved, saveEvery: 1000 }, { seconds: 40 }),
      tierra('every 20 steps', { ...saved, saveEvery: 20 }, { seconds: 40 }),
    ],
  },
  two: {
    title: 'Two GPUs, Llama 3.2B, 4×4096 a rank, recompute',
    entries: [
      tierra('one GPU, resident', { ...middle, memory: recompute }),
      tierra('ZeRO 3', { ...middle, parallel: { dp: 2, zero: 3 }, memory: recompute }, { ranks: 2, seconds: 60 }),
      tierra('ZeRO 3, 24 GiB', { ...middle, parallel: { dp: 2, zero: 3 }, memory: card24 }, { ranks: 2, seconds: 90 }),
      tierra('tp 2', { ...middle, parallel: { tp: 2 }, memory: recompute }, { ranks: 2, seconds: 60 }),
      tierra(
        'pp 2',
        { ...middle, batch: 1, microBatches: 4, parallel: { pp: 2 }, memory: recompute },
        { ranks: 2, seconds: 60 },
      ),
      torch('FSDP2', { ...middle, mode: 'fsdp2-gpu', recompute: true }, { ranks: 2, seconds: 70 }),
    ],
  },
  parallel: {
    title: 'Two GPUs, 16,384 tokens a step over both, recompute: Llama 3.6B divided in each way, and PyTorch’s own',
    entries: [
      tierra('one GPU', untied),
      tierra('tp 2', { ...untied, parallel: { tp: 2 } }, onTwo),
      torch('DTensor, tp 2', { ...middle, mode: 'tp', recompute: true }, parallelPeer),
      tierra('pp 2, 1F1B', { ...untied, batch: 1, microBatches: 4, parallel: { pp: 2 } }, onTwo),
      torch('pipelining, 1F1B', { ...middle, batch: 1, microBatches: 4, mode: 'pp', recompute: true }, parallelPeer),
      tierra('sp 2, ring', { ...untied, parallel: { sp: 2 } }, onTwo),
      tierra('sp 2, heads', { ...untied, parallel: { sp: 2, sequence: 'heads' } }, onTwo),
      tierra('a mixture of 3.1B, one GPU', experts),
      tierra('a mixture of 3.1B, ep 2', { ...experts, batch: 2, parallel: { ep: 2 } }, onTwo),
    ],
  },
} as const satisfies Readonly<Record<string, { readonly title: string; readonly entries: readonly Entry[] }>>;
