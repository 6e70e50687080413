// The kernels over a vector type: included by each instruction set's file, which supplies `Floats` and `Doubles`.
//
// A vector type has `Element`, `width`, `set(x)`, `load(p)` from, `store(p)` and
// `stream(p)` to each of the four element types, `fence()` after streaming, and
// mul, sub, div, sqrt, fma, fms (a*b - c), canonical, lionSign. What does not fill a vector goes to the scalar reference.
#pragma once

#include "coefficients.h"
#include "kernelTable.h"
#include "numbers.h"

#if defined(__FAST_MATH__)
#error "the canonical update needs IEEE arithmetic: compile without -ffast-math"
#endif

namespace tierra::optim {
namespace {

enum class Form { adamw, sgd, sgdMomentum, sgdNesterov, lion };

constexpr bool formUsesM(Form form) { return form != Form::sgd; }
constexpr bool formUsesV(Form form) { return form == Form::adamw; }

template <class V>
struct VectorCoefficients {
  explicit VectorCoefficients(const Coefficients<typename V::Element>& k)
      : scale(V::set(k.scale)), oneMinusBeta1(V::set(k.oneMinusBeta1)), oneMinusBeta2(V::set(k.oneMinusBeta2)),
        rootScale(V::set(k.rootScale)), eps(V::set(k.eps)),
        stepSize(V::set(k.stepSize)), decayRate(V::set(k.decayRate)), lr(V::set(k.lr)), negativeLr(V::set(k.negativeLr)),
        weightDecay(V::set(k.weightDecay)), momentum(V::set(k.momentum)) {}
  V scale, oneMinusBeta1, oneMinusBeta2, rootScale, eps, stepSize, decayRate, lr, negativeLr, weightDecay, momentum;
};

template <Form form, class V>
inline void step(const VectorCoefficients<V>& k, V gradient, V& w, V& m, V& v) {
  V g = mul(gradient, k.scale);
  if constexpr (form == Form::adamw) {
    m = fma(k.oneMinusBeta1, sub(g, m), m);
    v = fma(k.oneMinusBeta2, fms(g, g, v), v);
    const V q = div(m, fma(sqrt(v), k.rootScale, k.eps));
    w = sub(w, fma(k.stepSize, q, mul(k.decayRate, w)));
  } else if constexpr (form == Form::lion) {
    const V distance = sub(g, m);
    const V c = fma(k.oneMinusBeta1, distance, m);
    w = sub(w, fma(k.lr, lionSign(c), mul(k.decayRate, w)));
    m = fma(k.oneMinusBeta2, distance, m);
  } else {
    g = fma(k.weightDecay, w, g);
    if constexpr (form != Form::sgd) m = fma(k.momentum, m, g);
    V d = g;
    if constexpr (form == Form::sgdMomentum) d = m;
    if constexpr (form == Form::sgdNesterov) d = fma(k.momentum, m, g);
    w = fma(k.negativeLr, d, w);
  }
}

/// Whether `out` is written without having been read, at an address that whole vectors can be streamed to.
template <std::size_t width, class T>
bool canStream(const T* out, const void* in) {
  return out != in && reinterpret_cast<std::uintptr_t>(out) % (width * sizeof(T)) == 0;
}

template <class V, class T>
inline void put(V x, T* p, bool stream) {
  if (stream) {
    x.stream(p);
  } else {
    x.store(p);
  }
}

template <Form form, class V, class Gradient, class Parameter>
void updateLoop(const Coefficients<typename V::Element>& scalars, const UpdateBuffers& b, std::size_t count) {
  using T = typename V::Element;
  const VectorCoefficients<V> k(scalars);
  const auto* gradient = static_cast<const Gradient*>(b.gradient);
  const auto* master = static_cast<const T*>(b.master);
  const auto* m0 = static_cast<const T*>(b.m);
  const auto* v0 = static_cast<const T*>(b.v);
  auto* masterOut = static_cast<T*>(b.masterOut);
  auto* mOut = static_cast<T*>(b.mOut);
  auto* vOut = static_cast<T*>(b.vOut);
  auto* parameter = static_cast<Parameter*>(b.parameterOut);
  const bool streamState = b.stream && !b.scratchState && canStream<V::width>(masterOut, master) &&
                           (!formUsesM(form) || canStream<V::width>(mOut, m0)) &&
                           (!formUsesV(form) || canStream<V::width>(vOut, v0));
  const bool streamParameter = b.stream && canStream<V::width>(parameter, gradient);
  for (std::size_t i = 0; i < count; i += V::width) {
    const V g = V::load(gradient + i);
    V w = V::load(master + i);
    V m = w, v = w;
    if constexpr (formUsesM(form)) m = V::load(m0 + i);
    if constexpr (formUsesV(form)) v = V::load(v0 + i);
    step<form>(k, g, w, m, v);
    w = canonical(w);
    put(w, masterOut + i, streamState);
    if constexpr (formUsesM(form)) put(canonical(m), mOut + i, streamState);
    if constexpr (formUsesV(form)) put(canonical(v), vOut + i, streamState);
    if (parameter != nullptr) put(w, parameter + i, streamParameter);
  }
  if (streamState || streamParameter) V::fence();
}

template <Form form, class V>
void updateForm(const Coefficients<typename V::Element>& k, const UpdateBuffers& b, std::size_t count) {
  withType(b.gradientType, [&](auto g) {
    withType(b.parameterType, [&](auto p) { updateLoop<form, V, decltype(g), decltype(p)>(k, b, count); });
  });
}

template <class V>
void updateWhole(Rule rule, const UpdateGroup& group, double scale, const UpdateBuffers& b, std::size_t count) {
  const auto k = coefficients<typename V::Element>(group, scale);
  if (rule == Rule::adamw) return updateForm<Form::adamw, V>(k, b, count);
  if (rule == Rule::lion) return updateForm<Form::lion, V>(k, b, count);
  if (!usesFirstMoment(rule, group)) return updateForm<Form::sgd, V>(k, b, count);
  if (group.nesterov) return updateForm<Form::sgdNesterov, V>(k, b, count);
  return updateForm<Form::sgdMomentum, V>(k, b, count);
}

template <class Floats, class Doubles>
void updateVector(Rule rule, const UpdateGroup& group, double scale, const UpdateBuffers& b) {
  const bool wide = b.stateType == DType::float64;
  const std::size_t width = wide ? Doubles::width : Floats::width;
  const std::size_t whole = b.count - b.count % width;
  if (wide) {
    updateWhole<Doubles>(rule, group, scale, b, whole);
  } else {
    updateWhole<Floats>(rule, group, scale, b, whole);
  }
  if (whole < b.count) scalarKernels.update(rule, group, scale, slice(b, whole, b.count - whole));
}

template <class Doubles>
double sumSquaresBlockVector(const void* data, DType type, std::size_t count) {
  // A shorter block has lanes of unequal length: the reference does those.
  if (count % normLanes != 0) return scalarKernels.sumSquaresBlock(data, type, count);
  constexpr std::size_t vectors = normLanes / Doubles::width;
  double lanes[normLanes];
  withType(type, [&](auto element) {
    const auto* from = static_cast<const decltype(element)*>(data);
    Doubles sums[vectors];
    for (auto& sum : sums) sum = Doubles::set(0.0);
    for (std::size_t i = 0; i < count; i += normLanes) {
      for (std::size_t k = 0; k < vectors; ++k) {
        const Doubles x = Doubles::load(from + i + k * Doubles::width);
        sums[k] = fma(x, x, sums[k]);
      }
    }
    for (std::size_t k = 0; k < vectors; ++k) sums[k].store(lanes + k * Doubles::width);
  });
  for (std::size_t half = normLanes / 2; half > 0; half /= 2) {
    for (std::size_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  return canonical(lanes[0]);
}

template <class V, class From>
void accumulateLoop(typename V::Element* into, const From* from, std::size_t count, typename V::Element scale) {
  const V factor = V::set(scale);
  for (std::size_t i = 0; i < count; i += V::width) {
    canonical(fma(factor, V::load(from + i), V::load(into + i))).store(into + i);
  }
}

template <class Floats, class Doubles>
void accumulateVector(void* into, DType intoType, const void* from, DType fromType, std::size_t count, double scale) {
  const bool wide = intoType == DType::float64;
  const std::size_t whole = count - count % (wide ? Doubles::width : Floats::width);
  withType(fromType, [&](auto element) {
    const auto* x = static_cast<const decltype(element)*>(from);
    if (wide) {
      accumulateLoop<Doubles>(static_cast<double*>(into), x, whole, scale);
    } else {
      accumulateLoop<Floats>(static_cast<float*>(into), x, whole, static_cast<float>(scale));
    }
  });
  if (whole == count) return;
  scalarKernels.accumulate(static_cast<char*>(into) + whole * elementBytes(intoType), intoType,
                           static_cast<const char*>(from) + whole * elementBytes(fromType), fromType, count - whole,
                           scale);
}

template <class Floats>
void castVector(void* to, DType toType, const void* from, DType fromType, std::size_t count) {
  const std::size_t whole = count - count % Floats::width;
  withType(toType, [&](auto target) {
    withType(fromType, [&](auto source) {
      // One of the types is never double, so passing through float loses nothing that the result could keep.
      auto* out = static_cast<decltype(target)*>(to);
      const auto* in = static_cast<const decltype(source)*>(from);
      for (std::size_t i = 0; i < whole; i += Floats::width) canonical(Floats::load(in + i)).store(out + i);
    });
  });
  if (whole == count) return;
  scalarKernels.cast(static_cast<char*>(to) + whole * elementBytes(toType), toType,
                     static_cast<const char*>(from) + whole * elementBytes(fromType), fromType, count - whole);
}

template <class Floats, class Doubles>
constexpr KernelTable vectorTable() {
  return {updateVector<Floats, Doubles>, sumSquaresBlockVector<Doubles>, accumulateVector<Floats, Doubles>,
          castVector<Floats>};
}

}  // namespace
}  // namespace tierra::optim
