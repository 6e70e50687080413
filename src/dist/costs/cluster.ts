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
  cluster: Cluster,
  ranks: number,
  stride: number,
): { readonly bandwidth: number; readonly latency: number } {
  return ranks * stride <= cluster.gpusPerNode
    ? { bandwidth: cluster.nodeBandwidth, latency: cluster.nodeLatency }
    : { bandwidth: cluster.networkBandwidth, latency: cluster.networkLatency };
}
