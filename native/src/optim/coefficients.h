// What the update multiplies with: computed once in double, rounded once to the type of the arithmetic.
#pragma once

#include <cmath>

#include "update.h"

namespace tierra::optim {

template <class T>
struct Coefficients {
  T scale;
  T oneMinusBeta1, oneMinusBeta2;
  T rootScale, eps;
  T stepSize, decayRate;
  T lr, negativeLr, weightDecay, momentum;
};

// Internal linkage: see numbers.h.
namespace {

template <class T>
[[maybe_unused]] inline Coefficients<T> coefficients(const UpdateGroup& group, double gradientScale) {
  return {
      static_cast<T>(gradientScale),
      static_cast<T>(1.0 - group.beta1),
      static_cast<T>(1.0 - group.beta2),
      static_cast<T>(1.0 / std::sqrt(group.biasCorrection2)),
      static_cast<T>(group.eps),
      static_cast<T>(group.lr / group.biasCorrection1),
      static_cast<T>(group.lr * group.weightDecay),
      static_cast<T>(group.lr),
      static_cast<T>(-group.lr),
      static_cast<T>(group.weightDecay),
      static_cast<T>(group.momentum),
  };
}

}  // namespace
}  // namespace tierra::optim
