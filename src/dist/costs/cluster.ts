/** N GPUs as a person describes them. */
export interface Cluster {
  readonly gpus: number;
  readonly gpusPerNode: number;
  /** Bytes of one GPU that training may take. */
  readonly gpuBytes: number;
  /** Bytes of host memory for each GPU; 0 where states must stay on the GPU. */
  readonly hostBytes: number;
  /** Matmul operations per second that are reached. */
  readonly flops: number;
  /** Bytes per second into one GPU within a node and between nodes. */
  readonly nodeBandwidth: number;
  readonly networkBandwidth: number;
  /** Seconds before the first byte of a collective arrives, in a node and between nodes. */
  readonly nodeLatency: number;
  readonly networkLatency: number;
  /** Parameters per second that the host's optimizer updates for one GPU. */
  readonly hostUpdates: number;
}

/** Bandwidth and latency of a group of `ranks` that lie `stride` ranks apart. */
export function linkOf(
  cluster: Pick<Cluster, 'gpusPerNode' | 'nodeBandwidth' | 'networkBandwidth' | 'nodeLatency' | 'networkLatency'>,
  ranks: number,
  stride: number,
): { readonly bandwidth: number; readonly latency: number } {
  return ranks * stride <= cluster.gpusPerNode
    ? { bandwidth: cluster.nodeBandwidth, latency: cluster.nodeLatency }
    : { bandwidth: cluster.networkBandwidth, latency: cluster.networkLatency };
}

/** What a person says of the links: the flags of `tierra plan`. Rates in GB/s into one GPU. */
export interface LinkFlags {
  readonly ranks: number;
  readonly gpusPerNode?: number;
  readonly nodeLink?: number;
  readonly network?: number;
}

export interface Links {
  readonly gpus: number;
  readonly gpusPerNode: number;
  readonly nodeBandwidth: number;
  readonly networkBandwidth: number;
  readonly nodeLatency: number;
  readonly networkLatency: number;
  /** Whether anything of it was not said. */
  readonly isAssumed: boolean;
}

/** Eight GPUs a node, NVLink of the fourth generation in it and one 400 Gbit/s port a GPU between nodes, where nothing is said. */
export function describeLinks({ ranks, gpusPerNode, nodeLink, network }: LinkFlags): Links {
  const perNode = Math.min(gpusPerNode ?? 8, ranks);
  return {
    gpus: ranks,
    gpusPerNode: perNode,
    nodeBandwidth: (nodeLink ?? 450) * 1e9,
    networkBandwidth: (network ?? 50) * 1e9,
    nodeLatency: 10e-6,
    networkLatency: 30e-6,
    isAssumed: (perNode > 1 && nodeLink === undefined) || (perNode < ranks && network === undefined),
  };
}
