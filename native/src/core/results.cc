// libtorch's results to JavaScript values.
#include <cmath>

#include "core/environment.h"
#include "core/error.h"
#include "core/js.h"
#include "core/operators.h"

namespace tierra {

namespace {

constexpr double kExact = 9007199254740992.0;

void requirePassable(const Operator& op, const c10::IValue& value) {
  if (value.isTensor() || value.isNone() || value.isBool() || value.isDouble() || value.isString()) return;
  if (value.isInt()) {
    if (std::abs(static_cast<double>(value.toInt())) <= kExact) return;
    fail("E_UNSUPPORTED", op.name + ": the result " + std::to_string(value.toInt()) + " is no exact JavaScript number");
  }
  if (value.isTuple()) {
    for (const c10::IValue& element : value.toTupleRef().elements()) requirePassable(op, element);
    return;
  }
  if (value.isList()) {
    for (const c10::IValue& element : value.toList().vec()) requirePassable(op, element);
    return;
  }
  fail("E_UNSUPPORTED", op.name + ": a result of type " + value.tagKind() + " cannot be passed to JavaScript");
}

napi_value convert(napi_env env, const c10::IValue& value);

template <typename Items>
napi_value convertAll(napi_env env, const Items& values) {
  napi_value made = js::array(env, values.size());
  for (uint32_t i = 0; i < values.size(); ++i) js::setElement(env, made, i, convert(env, values[i]));
  return made;
}

napi_value convert(napi_env env, const c10::IValue& value) {
  if (value.isTensor()) {
    const at::Tensor& tensor = value.toTensor();
    return tensor.defined() ? js::number(env, Environment::current().tensors.adopt(tensor)) : js::null(env);
  }
  if (value.isBool()) return js::boolean(env, value.toBool());
  if (value.isInt()) return js::number(env, static_cast<double>(value.toInt()));
  if (value.isDouble()) return js::number(env, value.toDouble());
  if (value.isString()) return js::text(env, value.toStringRef());
  if (value.isTuple()) return convertAll(env, value.toTupleRef().elements());
  if (value.isList()) return convertAll(env, value.toList().vec());
  return js::null(env);
}

}  // namespace

napi_value toResult(napi_env env, const Operator& op, const torch::jit::Stack& stack) {
  for (const c10::IValue& value : stack) requirePassable(op, value);
  if (stack.empty()) return js::null(env);
  return stack.size() == 1 ? convert(env, stack[0]) : convertAll(env, stack);
}

}  // namespace tierra
