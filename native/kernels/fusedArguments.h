// Parameters of the kernels of layers. Tensors are contiguous unless strides are given; see kernelArguments.h.
#pragma once

/// x, out, gradient, xGradient [rows, width]; weight [width]; scales [rows]; partial [parts, width].
struct RmsNormArguments {
  const void* x;
  const void* weight;
  void* out;
  float* scales;  // 1 / sqrt(mean(x²) + epsilon): written forward, read backward
  const void* gradient;
  void* xGradient;
  float* partial;  // sums of the weight's gradient over some of the rows each
  void* weightGradient;
  long long rows;
  int width;
  int parts;
  float epsilon;
};

/// x, out [batch, heads, length, 2 * half], rows of the last dimension contiguous; cos, sin [length, 2 * half].
struct RotaryArguments {
  const void* x;
  void* out;
  const void* cos;
  const void* sin;
  long long items;  // batch * heads * length * half / 4
  long long xStrides[3];
  long long outStrides[3];
  int heads;
  int length;
  int half;
};

/// All of `count` elements.
struct SwigluArguments {
  const void* gate;
  const void* up;
  void* out;
  const void* gradient;
  void* gateGradient;
  void* upGradient;
  long long count;
};

/// logits, gradient [rows, vocabulary], rows `stride` elements apart; labels, logSums, picked [rows]; factor: one number.
struct CrossEntropyArguments {
  const float* logits;
  const long long* labels;
  float* logSums;  // written forward, read backward
  float* picked;   // the label's logit
  const float* factor;
  void* gradient;
  long long stride;
  int vocabulary;
};

/// Rows up to this width are worked on by a warp each, wider ones by a block.
constexpr int narrowWidth = 1024;
/// A block sums the weight's gradient in shared memory: 48 KiB with what else it keeps there, without asking for more.
constexpr int widestRow = 12 * 1024 - 32;
/// Blocks that share out the rows of a backward pass: the same number everywhere, since it decides the order of sums.
constexpr int normBackwardBlocks = 512;
