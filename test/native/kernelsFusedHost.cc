// The kernels of layers compiled for the host, one thread per row, against the formulas in fp64. Prints one line per
// difference, then "compared N, different N".
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "hostDevice.h"

namespace device {

#include "fusedArguments.h"
#include "kernelArguments.h"
#include "vectors.cuh"
namespace norm {
thread_local float sums[1];  // the kernel's own shared memory; the functions below it are given theirs
#include "rmsNorm.cu"
}  // namespace norm
namespace gated {
#include "swiglu.cu"
}
namespace positions {
#include "rotary.cu"
}
namespace loss {
#include "crossEntropy.cu"
}

}  // namespace device

namespace {

using device::BFloat16;
using device::Half;
long compared = 0;
int differences = 0;

void near(double got, double expected, double tolerance, const char* what) {
  ++compared;
  if (!(std::abs(got - expected) <= tolerance * (1 + std::abs(expected))) && ++differences < 20) {
    std::printf("%s: %g, expected %g\n", what, got, expected);
  }
}

double value() { return std::rand() / (RAND_MAX / 4.0) - 2.0; }

template <class E>
struct Tensor {
  explicit Tensor(std::size_t count) : store(count + 16) {
    // Vectors are read at 16-byte boundaries.
    data = reinterpret_cast<E*>((reinterpret_cast<std::uintptr_t>(store.data()) + 15) / 16 * 16);
    for (std::size_t i = 0; i < count; ++i) data[i] = device::Convert<E>::from(static_cast<float>(value()));
  }
  Tensor(const Tensor&) = delete;
  double operator[](std::size_t i) const { return static_cast<double>(device::toFloat(data[i])); }
  std::vector<E> store;
  E* data;
};

template <class E>
void checkNorm(double tolerance) {
  constexpr int rows = 5, width = 48;
  Tensor<E> x(rows * width), w(width), gradient(rows * width), out(rows * width), dx(rows * width), dw(width);
  std::vector<float> scales(rows), sums(width), partial(width);
  device::RmsNormArguments k{};
  k.x = x.data;
  k.weight = w.data;
  k.out = out.data;
  k.scales = scales.data();
  k.gradient = gradient.data;
  k.xGradient = dx.data;
  k.rows = rows;
  k.width = width;
  k.epsilon = 1e-3f;
  for (int row = 0; row < rows; ++row) device::norm::forwardRow<E, 1>(k, row, 0);
  for (int row = 0; row < rows; ++row) device::norm::backwardRow<E, 1>(k, row, 0, sums.data());
  std::vector<double> weightGradient(width);
  for (int row = 0; row < rows; ++row) {
    double square = 0, dot = 0;
    for (int i = 0; i < width; ++i) square += x[row * width + i] * x[row * width + i] / width;
    const double scale = 1 / std::sqrt(square + 1e-3);
    for (int i = 0; i < width; ++i) dot += gradient[row * width + i] * w[i] * x[row * width + i] * scale / width;
    for (int i = 0; i < width; ++i) {
      const double n = x[row * width + i] * scale, d = gradient[row * width + i] * w[i];
      near(out[row * width + i], n * w[i], tolerance, "norm");
      near(dx[row * width + i], scale * (d - n * dot), tolerance, "norm, gradient of x");
      weightGradient[i] += gradient[row * width + i] * n;
    }
  }
  // Columns lie vector element by vector element in a block's sums.
  constexpr int count = device::Vector<E>::count;
  for (int i = 0; i < width; ++i) {
    near(sums[i % count * (width / count) + i / count], weightGradient[i], rows * tolerance, "norm, gradient of the weight");
  }
}

template <class E>
void checkGated(double tolerance) {
  constexpr int elements = 64;
  Tensor<E> gate(elements), up(elements), gradient(elements), out(elements), dGate(elements), dUp(elements);
  device::SwigluArguments k{gate.data, up.data, out.data, gradient.data, dGate.data, dUp.data, elements};
  for (long long at = 0; at < elements; ++at) {  // more than there are: the rest must do nothing
    device::gated::forward<E>(k, at);
    device::gated::backward<E>(k, at);
  }
  for (int i = 0; i < elements; ++i) {
    const double s = 1 / (1 + std::exp(-gate[i])), silu = gate[i] * s;
    near(out[i], silu * up[i], tolerance, "swiglu");
    near(dUp[i], gradient[i] * silu, tolerance, "swiglu, gradient of up");
    near(dGate[i], gradient[i] * up[i] * s * (1 + gate[i] * (1 - s)), tolerance, "swiglu, gradient of gate");
  }
}

template <class E>
void checkPositions(double tolerance) {
  constexpr int batch = 2, heads = 3, length = 5, half = 8, size = 2 * half;
  constexpr int elements = batch * heads * length * size;
  Tensor<E> x(elements), y(elements), back(elements), cos(length * size), sin(length * size);
  device::RotaryArguments k{};
  k.cos = cos.data;
  k.sin = sin.data;
  k.heads = heads;
  k.length = length;
  k.half = half;
  k.items = batch * heads * length * half / 4;
  // In: [batch, length, heads, size] seen as [batch, heads, length, size]; out: packed.
  const long long split[] = {length * heads * size, size, heads * size};
  const long long packed[] = {heads * length * size, length * size, size};
  for (int dim = 0; dim < 3; ++dim) {
    k.xStrides[dim] = split[dim];
    k.outStrides[dim] = packed[dim];
  }
  k.x = x.data;
  k.out = y.data;
  for (long long item = 0; item < k.items + 3; ++item) device::positions::rotate<E, false>(k, item);
  k.out = back.data;
  for (long long item = 0; item < k.items + 3; ++item) device::positions::rotate<E, true>(k, item);
  for (int b = 0; b < batch; ++b) {
    for (int h = 0; h < heads; ++h) {
      for (int t = 0; t < length; ++t) {
        for (int i = 0; i < half; ++i) {
          const auto from = b * split[0] + h * split[1] + t * split[2] + i;
          const auto to = b * packed[0] + h * packed[1] + t * packed[2] + i;
          const double a = x[from], c = x[from + half];
          const int at = t * size + i;
          near(y[to], a * cos[at] - c * sin[at], tolerance, "rotary");
          near(y[to + half], c * cos[at + half] + a * sin[at + half], tolerance, "rotary");
          near(back[to], a * cos[at] + c * sin[at + half], tolerance, "rotary, backward");
          near(back[to + half], c * cos[at + half] - a * sin[at], tolerance, "rotary, backward");
        }
      }
    }
  }
}

/// Two rows of 10 logits, 12 apart: one that counts, one that does not.
template <class E>
void checkLoss(double tolerance) {
  constexpr int rows = 2, vocabulary = 10, stride = 12, label = 9;
  Tensor<float> logits(rows * stride);
  Tensor<E> gradient(rows * stride);
  const long long labels[rows] = {label, -100};
  float logSums[rows], picked[rows];
  const float factor = 0.25f;
  device::CrossEntropyArguments k{};
  k.logits = logits.data;
  k.labels = labels;
  k.logSums = logSums;
  k.picked = picked;
  k.factor = &factor;
  k.gradient = gradient.data;
  k.stride = stride;
  k.vocabulary = vocabulary;
  for (int row = 0; row < rows; ++row) {
    device::loss::forwardRow<1>(k, row, 0);
    device::loss::backwardRow<E, 1>(k, row, 0);
    double sum = 0;
    for (int i = 0; i < vocabulary; ++i) sum += std::exp(logits[row * stride + i]);
    near(logSums[row], std::log(sum), 2e-6, "loss, log of the sum");
    near(picked[row], row == 0 ? logits[label] : 0, 0, "loss, logit of the label");
    for (int i = 0; i < vocabulary; ++i) {
      const double p = std::exp(logits[row * stride + i]) / sum;
      const double expected = row == 0 ? (p - (i == label ? 1 : 0)) * factor : 0;
      near(gradient[row * stride + i], expected, tolerance, "loss, gradient");
    }
  }
}

template <class E>
void checkAll(double tolerance) {
  checkNorm<E>(tolerance);
  checkGated<E>(tolerance);
  checkPositions<E>(tolerance);
  checkLoss<E>(tolerance);
}

}  // namespace

int main() {
  checkAll<float>(2e-6);
  checkAll<Half>(4e-3);
  checkAll<BFloat16>(3e-2);
  std::printf("compared %ld, different %d\n", compared, differences);
  return differences == 0 ? 0 : 1;
}
