/**
 * The contract with the addon: every name it exports, written by hand, without `any`.
 *
 * Rules: handles cross, never addresses. TypeScript validates and decides; C++ receives complete, plain values and
 * asserts only what would corrupt memory. Byte counts and offsets are numbers, exact to 2^53; seeds are bigint.
 * Every failure arrives as a `TierraError`. Bump `contract` here and in `native/src/addon.cc` with every change.
 */
import type { Brand } from '../core/brands.ts';
import type { ErrorFields, TierraError } from '../core/errors.ts';

export const contract = 17;

/**
 * A slot in the addon's table of tensors: slot index and generation in one number, so that a handle used after its
 * release is recognised. Releasing frees the tensor unless libtorch's graph still needs it.
 */
export type TensorHandle = Brand<'TensorHandle'>;
/** Numbers on their way from a device; gone once nothing refers to it. */
export type Reading = object & { readonly kind: 'reading' };
/** A libtorch operator, looked up once. */
export type OperatorId = Brand<'OperatorId'>;

/** What an operator takes at one position; its schema decides how a number is read. `undefined` = the schema's default. */
export type Boxed =
  | number // int, float, Scalar, ScalarType code, or a TensorHandle where the schema says Tensor
  | bigint // int beyond 2^53
  | boolean
  | string // str, Device ("cpu", "cuda:0")
  | null // None for optionals
  | undefined
  | readonly (number | boolean | null)[]; // int[], float[], bool[], Tensor[], Tensor?[]

/** One result as it is; several as an array. Tensors arrive as handles owned by the caller. */
export type Unboxed = number | boolean | string | null | readonly Unboxed[];

/** `c10::ScalarType` codes as libtorch numbers them. */
export type DtypeCode = number;
/** `"cpu"` or `"cuda:0"`. */
export type DeviceName = string;

export interface TensorInfo {
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly dtype: DtypeCode;
  readonly device: DeviceName;
  readonly requiresGrad: boolean;
  readonly isLeaf: boolean;
  /** Bytes of the underlying storage now (0 while its bytes are elsewhere). */
  readonly storageBytes: number;
}

export interface MemoryStats {
  /** Bytes libtorch's allocator has handed out and not got back, in whole blocks: rounded up as the allocator does. */
  readonly allocatedBytes: number;
  /** The highest `allocatedBytes` since the last reset. */
  readonly peakBytes: number;
  /** Bytes taken from the system or the driver. */
  readonly reservedBytes: number;
  /** Allocations made from the system or the driver since start: flat in a steady state. */
  readonly systemAllocations: number;
}

export interface DeviceInfo {
  readonly name: string;
  readonly totalBytes: number;
  readonly freeBytes: number;
  readonly computeCapability: readonly [number, number];
  readonly multiprocessors: number;
}

export interface BuildInfo {
  readonly torchVersion: string;
  readonly compiler: string;
  readonly cuda: boolean;
  readonly uring: boolean;
  /** What can move bytes between ranks: Gloo between CPUs, NCCL between GPUs. */
  readonly gloo: boolean;
  readonly nccl: boolean;
  /** Hash of the sources it was built from, as the installer computed it; empty for a build by hand. */
  readonly sourceHash: string;
}

/** Weight gradients that wait to be computed. */
export type DeferredGradients = Brand<'DeferredGradients'>;

/** Tensors, operators, autograd, random state: `native/src/core`. */
export interface CoreBinding {
  readonly contract: number;
  readonly buildInfo: BuildInfo;
  /** Registers the constructor that native failures are thrown through; called once by the loader. */
  setErrorFactory(make: (code: string, message: string, fields: ErrorFields) => TierraError): void;

  /** Finds `name.overload`, e.g. `("aten::add", "Tensor")`. Throws `E_OPERATOR` when libtorch has no such operator. */
  findOperator(name: string, overload: string): OperatorId;
  /** The operator's schema as libtorch prints it. */
  operatorSchema(operator: OperatorId): string;
  /** Every schema of the running libtorch, for the test that checks our typed operators. */
  listOperators(): string[];
  /** Calls an operator with positional arguments; missing or `undefined` ones take the schema's defaults. */
  call(operator: OperatorId, ...args: readonly Boxed[]): Unboxed;

  /** A second handle on the same tensor (same storage, same graph). */
  retain(tensor: TensorHandle): TensorHandle;
  release(tensor: TensorHandle): void;
  /** Releases the first `count` handles of `tensors`; unknown or already released ones throw after the rest are released. */
  releaseMany(tensors: Float64Array, count: number): void;
  /** Handles not yet released. */
  liveTensors(): number;
  info(tensor: TensorHandle): TensorInfo;
  /** True when both handles name the same libtorch tensor object. */
  sameTensor(a: TensorHandle, b: TensorHandle): boolean;

  /** Copies `bytes` (host order, contiguous) into a new CPU tensor. */
  fromBytes(bytes: Uint8Array, shape: readonly number[], dtype: DtypeCode): TensorHandle;
  /** Wraps `bytes` without copying; the array buffer is kept alive until the tensor is gone and must not be resized. */
  wrapBytes(bytes: Uint8Array, shape: readonly number[], dtype: DtypeCode): TensorHandle;
  /** Copies a tensor's elements, contiguous, from any device into `into`, which has exactly the right size. */
  readBytes(tensor: TensorHandle, into: Uint8Array): void;
  /** The one element of a one-element tensor, as a double. Waits for the device. */
  item(tensor: TensorHandle): number;
  /** Starts reading one-element tensors of one device. What is launched later is not waited for. */
  startReading(tensors: readonly TensorHandle[]): Reading;
  /** Waits for the elements and gives them as doubles; may be asked again. */
  finishReading(reading: Reading): number[];

  setRequiresGrad(tensor: TensorHandle, on: boolean): void;
  detach(tensor: TensorHandle): TensorHandle;
  /**
   * Makes `tensor` a leaf in place: the handle now names a detached tensor of the same storage that requires grad, and
   * the returned handle names what it was, graph included. The tape cuts graphs at units with it.
   */
  cutGraph(tensor: TensorHandle): TensorHandle;
  /** Positions in `candidates` (leaves) that the graph behind `roots` reaches. */
  reachableLeaves(roots: readonly TensorHandle[], candidates: readonly TensorHandle[]): number[];
  /**
   * `torch.autograd.grad`. `gradOutputs[i] === null` stands for ones (scalar outputs only). Returns null for an input
   * that no output depends on. With `retainGraph` false the graph's saved tensors are freed.
   */
  grad(
    outputs: readonly TensorHandle[],
    inputs: readonly TensorHandle[],
    gradOutputs: readonly (TensorHandle | null)[],
    retainGraph: boolean,
  ): (TensorHandle | null)[];
  /**
   * The first half of a backward: gradients of `inputs`, null for those that no output depends on, and a number under which
   * `gradWeights` computes those of `weights` (leaves) later, from the graph and what arrived in it. Weights that leave the
   * way to the inputs at several places are computed now. The graph's saved tensors stay until then.
   */
  gradInputs(
    outputs: readonly TensorHandle[],
    inputs: readonly TensorHandle[],
    weights: readonly TensorHandle[],
    gradOutputs: readonly TensorHandle[],
  ): { readonly gradients: (TensorHandle | null)[]; readonly deferred: DeferredGradients };
  /** The second half, parallel to the weights; uses `deferred` up. */
  gradWeights(deferred: DeferredGradients): (TensorHandle | null)[];
  dropDeferred(deferred: DeferredGradients): void;
  /** Second halves neither computed nor dropped. */
  liveDeferred(): number;
  /** Turns graph recording on or off for this thread; returns what it was. */
  setGradMode(on: boolean): boolean;
  /** Enters libtorch's inference mode; every push needs its pop. */
  pushInferenceMode(): void;
  popInferenceMode(): void;

  /** Seeds the device's default generator. */
  seed(device: DeviceName, seed: bigint): void;
  getRandomState(device: DeviceName): Uint8Array;
  setRandomState(device: DeviceName, state: Uint8Array): void;

  memoryStats(device: DeviceName): MemoryStats;
  resetPeakMemory(device: DeviceName): void;
  /**
   * Caps what libtorch may allocate on `device` (`null` lifts the cap). On the CPU our own allocator counts every byte;
   * going over throws `E_OUT_OF_MEMORY` with the need and the cap in its details.
   */
  setMemoryCap(device: DeviceName, bytes: number | null): void;
  /** Gives cached device memory back. */
  emptyCache(): void;

  getThreads(): number;
  setThreads(count: number): void;
  setDeterministic(on: boolean): void;
  /** CUDA devices this build can use; 0 without CUDA. */
  deviceCount(): number;
  deviceInfo(index: number): DeviceInfo;
  /** Waits until the device has done all it was given. No-op on the CPU. */
  synchronize(device: DeviceName): void;
}

export type UpdateRule = 'adamw' | 'sgd' | 'lion';
export type SimdPath = 'scalar' | 'avx2' | 'avx512' | 'neon';

/** Hyper-parameters of one parameter group at one step, complete. `native/src/optim/update.h` says what each does. */
export interface UpdateGroup {
  readonly lr: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
  /** 1 - beta1^step and 1 - beta2^step, before any square root. */
  readonly biasCorrection1: number;
  readonly biasCorrection2: number;
  readonly momentum: number;
  readonly nesterov: boolean;
}

/**
 * Contiguous tensors of equal element counts on one device, CPU or CUDA; master, m and v of one element type, float32 or
 * float64. On CUDA an update runs on libtorch's current stream and gives the same bits as on the CPU.
 */
export interface UpdateTensors {
  readonly gradient: TensorHandle;
  readonly master: TensorHandle;
  readonly m: TensorHandle | null;
  readonly v: TensorHandle | null;
  /** Receives the new weights in its own element type. */
  readonly parameterOut: TensorHandle | null;
}

/** The same as bytes, for comparing paths: state is read from `master, m, v` and written to `masterOut, mOut, vOut`. */
export interface UpdateBytes {
  readonly gradient: Uint8Array;
  readonly gradientDtype: DtypeCode;
  readonly stateDtype: DtypeCode;
  readonly master: Uint8Array;
  readonly m: Uint8Array | null;
  readonly v: Uint8Array | null;
  readonly masterOut: Uint8Array;
  readonly mOut: Uint8Array | null;
  readonly vOut: Uint8Array | null;
  readonly parameterOut: Uint8Array | null;
  readonly parameterDtype: DtypeCode;
}

/** All of one parameter's elements, in its order; scales are one per block of 256 elements. */
export interface CompressedTensors {
  /** bfloat16 or float32. */
  readonly gradient: TensorHandle;
  /** bfloat16 with `low`, or float32 without. */
  readonly weight: TensorHandle;
  /** int16: the bits of the fp32 master that the bfloat16 weight leaves out. */
  readonly low: TensorHandle | null;
  /** uint8 codes, and float32 scales. */
  readonly m: TensorHandle;
  readonly root: TensorHandle;
  readonly mScales: TensorHandle;
  readonly rootScales: TensorHandle;
  /** Receives a copy of the new weights, or null; may be the gradient where both have one element type. */
  readonly weightOut: TensorHandle | null;
}

export interface SquaredNorm {
  /** The sum of squares in the canonical order: the same bits on every device and for every thread count. */
  readonly sum: number;
  /** Elements that are infinite or NaN. */
  readonly nonFinite: number;
}

/**
 * Optimizer steps: `native/src/optim` on the host, `native/kernels` on a GPU. Neither thread counts nor the device ever
 * change a bit. All tensors of one call are on one device; on CUDA calls return before the work is done, but for norms.
 */
export interface OptimizerBinding {
  /** The instruction set in use: the best this machine has, or what `TIERRA_SIMD` names. */
  simdPath(): SimdPath;
  /** All that this machine can run. */
  simdPaths(): SimdPath[];

  /** One step, in place, on `threads` threads (the caller's included). `gradientScale` multiplies the gradient first. */
  optimizerUpdate(
    rule: UpdateRule,
    group: UpdateGroup,
    gradientScale: number,
    tensors: UpdateTensors,
    threads: number,
  ): void;
  /** The same for many tensors: `tensors[i]` with `groups[groupOf[i]]`; on CUDA in one launch per 38 of them. */
  optimizerUpdateMany(
    rule: UpdateRule,
    groups: readonly UpdateGroup[],
    groupOf: readonly number[],
    gradientScale: number,
    tensors: readonly UpdateTensors[],
    threads: number,
  ): void;
  /** AdamW on compressed states, in place, on the CPU; `native/src/optim/compressed.h` describes them. */
  optimizerUpdateCompressed(
    path: SimdPath | 'automatic',
    group: UpdateGroup,
    gradientScale: number,
    tensors: CompressedTensors,
    threads: number,
  ): void;
  sumSquares(tensor: TensorHandle, threads: number): SquaredNorm;
  /** The same for many; on CUDA two launches and one copy for up to 160 tensors, and one wait. */
  sumSquaresMany(tensors: readonly TensorHandle[], threads: number): SquaredNorm[];
  /**
   * The same without waiting for the device: a byte tensor there with 16 bytes each, the sum as a double, then the count
   * of infinite and NaN elements as an unsigned 64-bit number.
   */
  sumSquaresStart(tensors: readonly TensorHandle[], threads: number): TensorHandle;
  /**
   * What those sums are made of, without waiting for the device: a byte tensor there with the sums of all canonical blocks
   * (4096 elements, the last of a tensor may be shorter), tensor after tensor, as doubles; then as many unsigned 32-bit
   * counts of infinite and NaN elements.
   */
  sumSquareBlocksStart(tensors: readonly TensorHandle[], threads: number): TensorHandle;
  /** into += scale * from, in `into`'s type (float32 or float64), rounded once. */
  accumulate(into: TensorHandle, from: TensorHandle, scale: number, threads: number): void;
  /** Converts between floating-point types, rounding to nearest even. */
  castInto(to: TensorHandle, from: TensorHandle, threads: number): void;

  optimizerUpdateBuffers(
    path: SimdPath,
    rule: UpdateRule,
    group: UpdateGroup,
    gradientScale: number,
    bytes: UpdateBytes,
  ): void;
  sumSquaresBytes(path: SimdPath, bytes: Uint8Array, dtype: DtypeCode): SquaredNorm;
  accumulateBytes(
    path: SimdPath,
    into: Uint8Array,
    intoDtype: DtypeCode,
    from: Uint8Array,
    fromDtype: DtypeCode,
    scale: number,
  ): void;
  castBytes(path: SimdPath, to: Uint8Array, toDtype: DtypeCode, from: Uint8Array, fromDtype: DtypeCode): void;
}

/** One region of memory taken once: page-locked RAM, or device memory (RAM stands in for it on a machine without GPU). */
export type ArenaId = Brand<'ArenaId'>;
export type ArenaKind = 'host' | 'device';

export interface ArenaInfo {
  readonly kind: ArenaKind;
  readonly bytes: number;
  /** Bytes that have a physical page. Costs a look at every page: not for the hot path. */
  readonly touchedBytes: number;
  /** Registered with CUDA: copies run asynchronously and at full speed. */
  readonly pinned: boolean;
  readonly hugePages: boolean;
  /** Views, bound storages and transfers under way. */
  readonly users: number;
  /** What did not go as asked, each with how to mend it. */
  readonly notes: readonly string[];
}

/** Arenas and the tensors in them: `native/src/memory`. Offsets are checked on every use (`E_ARGUMENT`). */
export interface ArenaBinding {
  /** One allocation, rounded up to whole pages. Throws `E_OUT_OF_MEMORY` with the need and what is free. */
  arenaCreate(kind: ArenaKind, bytes: number, device: number, hugePages: boolean): ArenaId;
  /** Throws `E_STATE` while anything uses the arena. */
  arenaDestroy(arena: ArenaId): void;
  arenaInfo(arena: ArenaId): ArenaInfo;
  /** Arenas not yet destroyed. */
  liveArenas(): number;
  /** A contiguous tensor over the arena's bytes. It keeps the arena in use until its storage is gone. */
  arenaTensor(arena: ArenaId, offset: number, shape: readonly number[], dtype: DtypeCode): TensorHandle;
  /**
   * Gives the tensor's own storage these bytes, under a live autograd graph too: what the graph saved names the same
   * storage. Whatever bytes the storage had are let go.
   */
  bindStorage(tensor: TensorHandle, arena: ArenaId, offset: number, bytes: number): void;
  /** Takes the storage's bytes away; shape and graph stay. */
  unbindStorage(tensor: TensorHandle): void;
  /**
   * The bytes that libtorch allocated for the tensor become an arena of their own, so that transfers can name them; the
   * storage has none until it is given some. Throws `E_STATE` when it has none.
   */
  storageTake(tensor: TensorHandle): ArenaId;
  /** Fresh bytes from libtorch's allocator on the tensor's device, counted and capped like any tensor's. */
  storageMake(tensor: TensorHandle, bytes: number): ArenaId;
  /** The bytes of an arena from `storageTake` or `storageMake` become the tensor's; the arena is gone. */
  storageGive(tensor: TensorHandle, arena: ArenaId): void;
  /** Frees such bytes once the last transfer that names them is over; the arena is gone at once. */
  storageLetGo(arena: ArenaId): void;
  arenaRead(arena: ArenaId, offset: number, into: Uint8Array): void;
  arenaWrite(arena: ArenaId, offset: number, from: Uint8Array): void;
  arenaFill(arena: ArenaId, offset: number, bytes: number, value: number): void;
  /** Memory and file space taken from the system or the driver by arenas and swaps: flat in a steady state. */
  allocationCount(): number;
}

export type SwapId = Brand<'SwapId'>;
export type SwapBackend = 'uring' | 'threads';

export interface SwapOptions {
  /** One file in each folder; a folder named twice holds two. Extents are striped over the files. */
  readonly paths: readonly string[];
  readonly bytes: number;
  readonly backend: 'auto' | SwapBackend;
  /** Ask for O_DIRECT; where the file system has none, `swapInfo` says so. */
  readonly direct: boolean;
  /** Checksum payloads on write and verify on read. Chunk, step, size and place are verified either way. */
  readonly checksum: boolean;
  readonly runId: string;
  /** Bytes of one request: whole MiB. */
  readonly blockBytes: number;
  /** Requests in flight each way. */
  readonly readDepth: number;
  readonly writeDepth: number;
}

export interface SwapInfo {
  readonly backend: SwapBackend;
  readonly direct: boolean;
  readonly checksum: boolean;
  readonly bytes: number;
  readonly alignment: number;
  readonly stripeBytes: number;
  /** Slices of host arenas registered with io_uring. */
  readonly registeredBuffers: number;
  readonly registeredFiles: boolean;
  /** Everything that is not as asked for, each with its cause. */
  readonly reasons: readonly string[];
  /** Files of killed runs that were removed. */
  readonly leftovers: readonly string[];
}

export interface SwapLaneStats {
  readonly bytes: number;
  readonly requests: number;
  readonly retries: number;
  readonly shortTransfers: number;
}

export interface SwapStats {
  readonly read: SwapLaneStats;
  readonly write: SwapLaneStats;
  /** Completions that io_uring could not queue: must stay 0. */
  readonly overflows: number;
}

/** One extent: `bytes` of payload, rounded up to 4 KiB, and a 4 KiB trailer. Both offsets are multiples of 4096. */
export interface SwapTransfer {
  readonly swapOffset: number;
  readonly arena: ArenaId;
  readonly arenaOffset: number;
  readonly bytes: number;
  readonly chunk: number;
  readonly step: number;
}

/** Swap files, and the fault points of native code: `native/src/io`. */
export interface SwapBinding {
  /**
   * Locks the folders, removes what killed runs left, makes nameless files and reserves their space. Throws `E_CONFIG`
   * (not a folder), `E_IO` (in use: names the holder), `E_OUT_OF_MEMORY` (no room: need and have), `E_UNSUPPORTED`.
   */
  swapOpen(options: SwapOptions): SwapId;
  swapInfo(swap: SwapId): SwapInfo;
  swapStats(swap: SwapId): SwapStats;
  /** Throws `E_STATE` while an executor uses it. */
  swapClose(swap: SwapId): void;
  /** Moves one extent and waits. Reading throws `E_CORRUPT` when the bytes are not that chunk of that step, unharmed. */
  swapRead(swap: SwapId, transfer: SwapTransfer): void;
  swapWrite(swap: SwapId, transfer: SwapTransfer): void;
  /** Waits until all that was written is on the medium. A failure makes the swap unusable: fsync cannot be retried. */
  swapSync(swap: SwapId): void;
  /** Bytes that an extent with this payload takes. */
  swapExtentBytes(payloadBytes: number): number;
  /** Bytes per second at which one thread checksums the arena. */
  checksumRate(arena: ArenaId): number;

  /** For benchmarks: a bare io_uring loop over a nameless file of two halves in `folder`. One at a time. */
  plainLoopOpen(folder: string, halfBytes: number, blockBytes: number, depth: number): void;
  /** Reads one half and writes the other with `depth` blocks in flight each; returns seconds. */
  plainLoopRun(): number;
  plainLoopClose(): void;

  /** Arms fault points (`site:kind@k=n`, joined by `;`) and sets all counters to zero; `null` disarms. */
  setFault(plan: string | null): void;
  /** How often a site was passed since the last `setFault`. */
  faultHits(site: string): number;
  faultSites(): string[];
}

export type AppendFileId = Brand<'AppendFileId'>;

/** Files written once, front to back, and hashed on the way: `native/src/io/appendFile.h`. */
export interface AppendBinding {
  /** Creates the file, which must not exist. Throws `E_IO`. */
  appendOpen(path: string): AppendFileId;
  /** For headers; the rest comes through save tickets. */
  appendBytes(file: AppendFileId, bytes: Uint8Array): void;
  /** Null until it is finished; throws `E_IO` with what went wrong with it. */
  appendResult(file: AppendFileId): { readonly bytes: number; readonly sha256: string } | null;
  /** Forgets the file; what still writes it goes on. */
  appendClose(file: AppendFileId): void;
  /** Hexadecimal; `plain` takes the implementation that needs nothing of Node. */
  sha256(bytes: Uint8Array, plain: boolean): string;
}

export type ExecutorId = Brand<'ExecutorId'>;
export type TicketId = Brand<'TicketId'>;
export type LaneName = 'read' | 'write' | 'toDevice' | 'toHost' | 'update';
/** With those that carry a checkpoint: `stage` from where bytes are to a buffer, `save` from there to files. */
export type AnyLane = LaneName | 'stage' | 'save';

export interface ExecutorOptions {
  /** CUDA device, or -1: copies between arenas are memcpy. */
  readonly device: number;
  /** Threads that work on one update together. */
  readonly updateThreads: number;
  /** How many gradient scales there are. */
  readonly scaleCells: number;
  /** Spans kept between two calls of `timeline`; more are counted and dropped. */
  readonly timelineCapacity: number;
}

interface TicketCommon {
  /** From 1, ascending across all submissions to one executor. */
  readonly id: TicketId;
  /** Tickets with lower ids that must be done first. */
  readonly after: readonly TicketId[];
  /** The moment whose compute must be over first, or -1. Moments ascend over the whole run, not within a step. */
  readonly afterMoment: number;
  /** The scale cell that must be set first, or -1. */
  readonly afterCell: number;
  /** Why this moves: its name in the timeline and in errors. */
  readonly cause: string;
  readonly chunk: number;
  readonly step: number;
}

/** One extent from or to a swap. `chunk` and `step` are stamped on it, or must be found on it. */
export interface DiskTicket extends TicketCommon {
  readonly lane: 'read' | 'write';
  readonly swap: SwapId;
  readonly swapOffset: number;
  readonly arena: ArenaId;
  readonly arenaOffset: number;
  readonly bytes: number;
}

/** Waits until what the swap wrote is on the medium. Shows as `write` in the timeline. */
export interface SyncTicket extends TicketCommon {
  readonly lane: 'sync';
  readonly swap: SwapId;
}

export interface CopyTicket extends TicketCommon {
  readonly lane: 'toDevice' | 'toHost';
  readonly source: ArenaId;
  readonly sourceOffset: number;
  readonly target: ArenaId;
  readonly targetOffset: number;
  readonly bytes: number;
}

export interface ArenaPlace {
  readonly arena: ArenaId;
  readonly offset: number;
}

export interface ArenaElements extends ArenaPlace {
  readonly dtype: DtypeCode;
}

/** Elements `begin` to `begin + count` of the chunk belong to `groups[group]`. */
export interface UpdateSegment {
  readonly begin: number;
  readonly count: number;
  readonly group: number;
  /** Of compressed states: where its scales begin. One for every 256 of its elements, counted from its first. */
  readonly firstScale: number;
}

/** Where the planes of compressed states begin, in bytes from the state's own place. */
export interface CompressedPlanes {
  readonly weight: number;
  /** Not read where weights are float32. */
  readonly low: number;
  readonly m: number;
  readonly root: number;
  readonly mScales: number;
  readonly rootScales: number;
  /** Scales of one moment. */
  readonly scales: number;
  /** Of the whole state. */
  readonly bytes: number;
}

/**
 * One optimizer step over a chunk of `count` elements. State is `count` master weights, then `count` first moments
 * (adamw, lion, sgd with momentum in any group), then `count` second moments (adamw), without gaps.
 */
export interface UpdateTicket extends TicketCommon {
  readonly lane: 'update';
  readonly rule: UpdateRule;
  readonly count: number;
  /** One per use of the parameters, of one element type: summed in this order in the state's type. */
  readonly gradients: readonly ArenaElements[];
  /** Exact states: float32 or float64, also the type of the arithmetic. Compressed ones: the type of the weights, bfloat16 or float32. */
  readonly state: ArenaElements;
  /** Compressed states; null: master, first and second moment (as the rule has them), one after another. */
  readonly planes: CompressedPlanes | null;
  /** Where the new state goes; `null` updates in place. Elements outside all segments are copied. */
  readonly stateOut: ArenaPlace | null;
  /** Receives the new weights; may be the gradient's own place when the element sizes are equal. */
  readonly parameterOut: ArenaElements | null;
  /** Ascending, without overlap. */
  readonly segments: readonly UpdateSegment[];
  readonly groups: readonly UpdateGroup[];
  /** Cell with the factor for the gradient, read when the update starts, which waits until it is set; -1 stands for 1. */
  readonly scaleCell: number;
  /** Exact states only: makes the new weights and leaves the state as it is; `stateOut` is not looked at. Default false. */
  readonly preview?: boolean;
}

/** `into += from` (or `into = from`), `into` float32 or float64: a sum over micro-batches on the update lane. */
export interface AccumulateTicket extends TicketCommon {
  readonly lane: 'update';
  readonly count: number;
  readonly into: ArenaElements;
  readonly from: ArenaElements;
  readonly add: boolean;
}

/** Copies a checkpoint's bytes into a host arena, from an arena in RAM or from a contiguous tensor there. Cannot fail. */
export interface StageTicket extends TicketCommon {
  readonly lane: 'stage';
  readonly source?: ArenaId;
  readonly tensor?: TensorHandle;
  readonly sourceOffset: number;
  readonly target: ArenaId;
  readonly targetOffset: number;
  readonly bytes: number;
}

export interface SavePiece {
  readonly file: AppendFileId;
  /** In the ticket's arena. */
  readonly offset: number;
  readonly bytes: number;
}

/**
 * Appends pieces to files in this order, then flushes and finishes those in `finish`. Never fails: what went wrong with a file
 * is what `appendResult` throws.
 */
export interface SaveTicket extends TicketCommon {
  readonly lane: 'save';
  readonly arena: ArenaId;
  readonly pieces: readonly SavePiece[];
  readonly finish: readonly AppendFileId[];
}

export type Ticket = DiskTicket | SyncTicket | CopyTicket | UpdateTicket | AccumulateTicket | StageTicket | SaveTicket;

export interface PendingTicket {
  readonly id: TicketId;
  readonly lane: AnyLane;
  readonly state: 'waiting' | 'ready' | 'running' | 'issued';
  readonly cause: string;
  readonly chunk: number;
  /** What a waiting ticket waits for: unfinished tickets, a moment or -1, a cell or -1. */
  readonly tickets: readonly TicketId[];
  readonly moment: number;
  readonly cell: number;
}

export interface TimelineSpan {
  readonly lane: AnyLane | 'wait' | 'compute';
  /** The ticket's cause, or that of the wait; of compute none. */
  readonly name: string;
  /** On the clock of `nowUs`. */
  readonly startUs: number;
  readonly durationUs: number;
  readonly bytes: number;
  readonly chunk: number;
  /** Of compute: the moment. */
  readonly ticket: TicketId;
}

export interface TimelineReport {
  readonly spans: readonly TimelineSpan[];
  /** Per lane, the time with at least one ticket under way since the last report. */
  readonly busyUs: Readonly<Record<AnyLane | 'wait' | 'compute', number>>;
  readonly dropped: number;
}

/** Lanes with threads of their own that walk tickets in dependency order: `native/src/executor`. */
export interface ExecutorBinding {
  executorCreate(options: ExecutorOptions): ExecutorId;
  /** Cancels what has not started, lets running tickets end, joins all threads. */
  executorDestroy(executor: ExecutorId): void;
  /** All or none; every place is checked (`E_ARGUMENT`) before anything starts. */
  submit(executor: ExecutorId, tickets: readonly Ticket[]): void;
  /** Sets a gradient scale and lets go what waits for it. Setting it again changes what later updates read. */
  setScale(executor: ExecutorId, cell: number, value: number): void;
  /** Makes the cell unset again. Throws `E_STATE` while an unfinished update reads it. */
  clearScale(executor: ExecutorId, cell: number): void;
  /** What is computed (CPU) or submitted (GPU) from now on is the moment that is reached next: it begins here in the timeline. */
  beginMoment(executor: ExecutorId): void;
  /**
   * Compute of `moment` and all before it is over (CPU) or submitted to the compute stream (GPU). Never goes back; reached
   * again, it covers on a GPU what was submitted since, for tickets that come later.
   */
  reachMoment(executor: ExecutorId, moment: number): void;
  /**
   * Blocks until the tickets are done; on a GPU, until `toDevice` tickets are on their stream, and then makes the compute
   * stream wait for them. Returns the milliseconds blocked. Throws the error of what failed, or `E_STATE` when a ticket
   * waits for a moment or cell that only the caller could supply.
   */
  wait(executor: ExecutorId, tickets: readonly TicketId[], cause: string): number;
  /** Waits for everything; throws the first failure there ever was. */
  drain(executor: ExecutorId): number;
  /** Whether this ticket is done. Throws what failed it. */
  isDone(executor: ExecutorId, ticket: TicketId): boolean;
  /** The first failure, or null. */
  failed(executor: ExecutorId): TierraError | null;
  /** What is not done and what it waits for: for a watchdog. */
  pending(executor: ExecutorId): PendingTicket[];
  /** Spans that ended since the last call. */
  timeline(executor: ExecutorId): TimelineReport;
  /** Microseconds on the lanes' clock. */
  nowUs(): number;
}

export interface CompiledKernel {
  /** Its file in `native/kernels`. */
  readonly name: string;
  readonly bytes: number;
}

/** CUDA kernels, compiled when first used and kept on disk: `native/src/cuda`. */
export interface KernelBinding {
  kernelNames(): string[];
  /**
   * Compiles every kernel for `arch` (`"sm_90"`) with NVRTC, past the cache; needs no GPU. Throws `E_UNSUPPORTED` where no
   * NVRTC is found (`TIERRA_NVRTC` names its folder), `E_INTERNAL` with the compiler's log.
   */
  compileKernels(arch: string): CompiledKernel[];
}

export type StoreId = Brand<'StoreId'>;
export type GroupId = Brand<'GroupId'>;
/** A collective under way; used up by `workWait`. */
export type WorkId = Brand<'WorkId'>;

export interface StoreOptions {
  /** Where it is served; the server listens on all of its host's addresses. */
  readonly host: string;
  /** 0 takes a free port, which `storePort` then says. */
  readonly port: number;
  /** True in the one process that serves it; it has the store open like everybody else. */
  readonly server: boolean;
  /** In the server: a socket that already listens on the port, or null. */
  readonly listenFd: number | null;
  readonly timeoutMs: number;
}

export interface GroupOptions {
  readonly name: string;
  readonly backend: 'gloo' | 'nccl';
  /** Ranks of the world in the group's order, and this process's position among them. */
  readonly ranks: readonly number[];
  readonly rank: number;
  readonly timeoutMs: number;
  /** Sums are added in rank order. */
  readonly deterministic: boolean;
  /** Gloo: address or interface to listen on; empty takes the address of this host's name. */
  readonly listenOn: string;
  /** Where its ranks find each other, below keys that begin with `prefix`; null for a group of one. */
  readonly store: StoreId | null;
  readonly prefix: string;
}

export interface CollectiveCounts {
  readonly calls: number;
  readonly elementsReceived: number;
  readonly bytesReceived: number;
  /** What the calling thread spent in the call and in waiting for it. */
  readonly seconds: number;
}

/**
 * Groups of ranks over libtorch's c10d: `native/src/dist`. Tensors are contiguous; collectives of one group are called in
 * the same order by all its ranks and return at once. Failures are `E_COLLECTIVE`, thrown by `workWait`.
 */
export interface DistBinding {
  storeOpen(options: StoreOptions): StoreId;
  storePort(store: StoreId): number;
  storeSet(store: StoreId, key: string, value: Uint8Array): void;
  /** Waits until the key is there. */
  storeGet(store: StoreId, key: string, timeoutMs: number): Uint8Array;
  /** Adds to a counter (from 0) and returns the sum. */
  storeAdd(store: StoreId, key: string, amount: number): number;
  storeWait(store: StoreId, keys: readonly string[], timeoutMs: number): void;
  storeHas(store: StoreId, key: string): boolean;
  storeDelete(store: StoreId, key: string): boolean;
  storeClose(store: StoreId): void;

  /** Meets the group's other ranks. Throws `E_UNSUPPORTED` for a back end that this build lacks. */
  groupCreate(options: GroupOptions): GroupId;
  /** Ends what is under way. */
  groupDestroy(group: GroupId): void;
  /** Makes what is under way fail at once, here and so on the other ranks. */
  groupAbort(group: GroupId): void;
  groupAllReduce(group: GroupId, tensor: TensorHandle, reduction: 'sum' | 'max' | 'min'): WorkId;
  groupAllGather(group: GroupId, into: TensorHandle, from: TensorHandle): WorkId;
  groupReduceScatter(group: GroupId, into: TensorHandle, from: TensorHandle): WorkId;
  groupBroadcast(group: GroupId, tensor: TensorHandle, root: number): WorkId;
  groupReduce(group: GroupId, tensor: TensorHandle, root: number): WorkId;
  /** Rows from and to each position; empty lists for equal parts. */
  groupAllToAll(
    group: GroupId,
    into: TensorHandle,
    from: TensorHandle,
    intoSplits: readonly number[],
    fromSplits: readonly number[],
  ): WorkId;
  /** Tags are below 2^30. */
  groupSend(group: GroupId, tensor: TensorHandle, to: number, tag: number): WorkId;
  groupReceive(group: GroupId, tensor: TensorHandle, from: number, tag: number): WorkId;
  groupBarrier(group: GroupId): WorkId;
  /** Waits, on a GPU by making the current stream wait. */
  workWait(work: WorkId): void;
  groupCounters(group: GroupId): Readonly<Record<string, CollectiveCounts>>;
  groupResetCounters(group: GroupId): void;
  /** Groups not yet destroyed. */
  liveGroups(): number;
}

/** Launches on a GPU that are recorded once and run as often as wanted. */
export type GraphId = Brand<'GraphId'>;

export interface RecordedGraph {
  /** Device memory of the graph's own, which no other work uses until the graph is destroyed. It counts in `memoryStats`. */
  readonly bytes: number;
  /** Launches, copies and fills. */
  readonly nodes: number;
}

/** `native/src/cuda/graph.h`. */
export interface GraphBinding {
  /**
   * What this thread gives `device` from now on is recorded and does not run; tensors made meanwhile lie in the graph's own memory,
   * and tensors from before are read and written where they lie at every replay. One recording at a time. Throws
   * `E_UNSUPPORTED` on a device, or in a build, without CUDA.
   */
  graphBegin(device: DeviceName): GraphId;
  /** Ends recording. Throws `E_UNSUPPORTED` when something was asked for that cannot be recorded; then only `graphDestroy` is left. */
  graphEnd(graph: GraphId): RecordedGraph;
  /** Runs the recorded work on libtorch's current stream, without waiting for it. */
  graphReplay(graph: GraphId): void;
  /** Frees the graph; in the middle of a recording it ends that. Memory that tensors from the recording still name goes with them. */
  graphDestroy(graph: GraphId): void;
  /** Graphs not yet destroyed. */
  liveGraphs(): number;
}

/** A thread that needs neither JavaScript nor the GPU, and the last resort of a person: `native/src/core/watchdog.h`. */
export interface WatchdogBinding {
  /** From now on, `seconds` without a beat put what is unfinished on standard error; again after twice that, and so on. */
  watchdogStart(seconds: number): void;
  watchdogStop(): void;
  /** Something has happened: `text` is what begins now. Costs nothing while no watchdog runs. */
  watchdogBeat(text: string): void;
  /**
   * The second SIGINT or SIGTERM from now on ends the process at once with 128 + its number, also while JavaScript is busy.
   * The first goes to the handlers that are there.
   */
  quitOnSecondSignal(on: boolean): void;
}

/** The whole addon. Further parts extend this as they are built. */
export interface Binding
  extends CoreBinding,
    OptimizerBinding,
    ArenaBinding,
    SwapBinding,
    AppendBinding,
    ExecutorBinding,
    KernelBinding,
    DistBinding,
    GraphBinding,
    WatchdogBinding {}
