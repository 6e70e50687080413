// The reference: plain loops, one element at a time, that every other path must equal bit for bit.
#include <cmath>

#include "coefficients.h"
#include "kernelTable.h"
#include "numbers.h"

#if defined(__FAST_MATH__)
#error "the canonical update needs IEEE arithmetic: compile without -ffast-math"
#endif

namespace tierra::optim {
namespace {

template <class T>
void adamw(const Coefficients<T>& k, T gradient, T& w, T& m, T& v) {
  const T g = gradient * k.scale;
  const T m1 = std::fma(k.oneMinusBeta1, g - m, m);
  const T v1 = std::fma(k.oneMinusBeta2, std::fma(g, g, -v), v);
  const T q = m1 / std::fma(std::sqrt(v1), k.rootScale, k.eps);
  w = canonical(w - std::fma(k.stepSize, q, k.decayRate * w));
  m = canonical(m1);
  v = canonical(v1);
}

template <class T>
void sgd(const Coefficients<T>& k, T gradient, T& w) {
  const T g = std::fma(k.weightDecay, w, gradient * k.scale);
  w = canonical(std::fma(k.negativeLr, g, w));
}

template <class T>
void sgdMomentum(const Coefficients<T>& k, bool nesterov, T gradient, T& w, T& m) {
  const T g = std::fma(k.weightDecay, w, gradient * k.scale);
  const T m1 = std::fma(k.momentum, m, g);
  const T d = nesterov ? std::fma(k.momentum, m1, g) : m1;
  w = canonical(std::fma(k.negativeLr, d, w));
  m = canonical(m1);
}

template <class T>
void lion(const Coefficients<T>& k, T gradient, T& w, T& m) {
  const T g = gradient * k.scale;
  const T c = std::fma(k.oneMinusBeta1, g - m, m);
  const T s = c == 0 || c != c ? c : std::copysign(T{1}, c);
  w = canonical(w - std::fma(k.lr, s, k.decayRate * w));
  m = canonical(std::fma(k.oneMinusBeta2, g - m, m));
}

template <class T, class Gradient, class Parameter>
void updateTyped(Rule rule, const UpdateGroup& group, double scale, const UpdateBuffers& b) {
  const Coefficients<T> k = coefficients<T>(group, scale);
  const auto* gradient = static_cast<const Gradient*>(b.gradient);
  auto* parameter = static_cast<Parameter*>(b.parameterOut);
  const bool hasM = usesFirstMoment(rule, group);
  const bool hasV = usesSecondMoment(rule);
  for (std::size_t i = 0; i < b.count; ++i) {
    const T g = Convert<T>::from(gradient[i]);
    T w = static_cast<const T*>(b.master)[i];
    T m = hasM ? static_cast<const T*>(b.m)[i] : T{0};
    T v = hasV ? static_cast<const T*>(b.v)[i] : T{0};
    if (rule == Rule::adamw) adamw(k, g, w, m, v);
    if (rule == Rule::sgd && !hasM) sgd(k, g, w);
    if (rule == Rule::sgd && hasM) sgdMomentum(k, group.nesterov, g, w, m);
    if (rule == Rule::lion) lion(k, g, w, m);
    static_cast<T*>(b.masterOut)[i] = w;
    if (hasM) static_cast<T*>(b.mOut)[i] = m;
    if (hasV) static_cast<T*>(b.vOut)[i] = v;
    if (parameter != nullptr) parameter[i] = Convert<Parameter>::from(w);
  }
}

void updateScalar(Rule rule, const UpdateGroup& group, double scale, const UpdateBuffers& b) {
  withArithmeticType(b.stateType, [&](auto t) {
    withType(b.gradientType, [&](auto g) {
      withType(b.parameterType,
               [&](auto p) { updateTyped<decltype(t), decltype(g), decltype(p)>(rule, group, scale, b); });
    });
  });
}

double sumSquaresBlockScalar(const void* data, DType type, std::size_t count) {
  double lanes[normLanes] = {};
  withType(type, [&](auto element) {
    const auto* from = static_cast<const decltype(element)*>(data);
    for (std::size_t i = 0; i < count; ++i) {
      const double x = Convert<double>::from(from[i]);
      lanes[i % normLanes] = std::fma(x, x, lanes[i % normLanes]);
    }
  });
  for (std::size_t half = normLanes / 2; half > 0; half /= 2) {
    for (std::size_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  return canonical(lanes[0]);
}

void accumulateScalar(void* into, DType intoType, const void* from, DType fromType, std::size_t count, double scale) {
  withArithmeticType(intoType, [&](auto t) {
    using T = decltype(t);
    withType(fromType, [&](auto element) {
      auto* sum = static_cast<T*>(into);
      const auto* x = static_cast<const decltype(element)*>(from);
      for (std::size_t i = 0; i < count; ++i) {
        sum[i] = canonical(std::fma(static_cast<T>(scale), Convert<T>::from(x[i]), sum[i]));
      }
    });
  });
}

void castScalar(void* to, DType toType, const void* from, DType fromType, std::size_t count) {
  withType(toType, [&](auto target) {
    using To = decltype(target);
    withType(fromType, [&](auto source) {
      for (std::size_t i = 0; i < count; ++i) {
        const auto x = static_cast<const decltype(source)*>(from)[i];
        static_cast<To*>(to)[i] = canonical(Convert<To>::from(x));
      }
    });
  });
}

}  // namespace

const KernelTable scalarKernels = {updateScalar, sumSquaresBlockScalar, accumulateScalar, castScalar};

}  // namespace tierra::optim
