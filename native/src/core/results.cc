// libtorch's results to JavaScript values.
#include <cmath>

#include "core/environment.h"
#include "core/error.h"
#include "core/js.h"
#include "core/operators.h"

namespace tierra {

namespace {

napi_value handleOf(napi_env env, const at::Tensor& tensor) {
  return tensor.defined() ? js::number(env, Environment::current().tensors.adopt(tensor)) : js::null(env);
}

napi_value integer(napi_env env, const Operator& op, int64_t value) {
  if (std::abs(static_cast<double>(value)) > 9007199254740992.0) {
    fail("E_UNSUPPORTED", op.name + ": the result " + std::to_string(value) + " is no exact JavaScript number");
  }
  return js::number(env, static_cast<double>(value));
}

template <typename Items>
napi_value items(napi_env env, const Operator& op, const Items& values) {
  napi_value made = js::array(env, values.size());
  for (uint32_t i = 0; i < values.size(); ++i) js::setElement(env, made, i, fromIValue(env, op, values[i]));
  return made;
}

}  // namespace

napi_value fromIValue(napi_env env, const Operator& op, const c10::IValue& value) {
  if (value.isTensor()) return handleOf(env, value.toTensor());
  if (value.isNone()) return js::null(env);
  if (value.isBool()) return js::boolean(env, value.toBool());
  if (value.isInt()) return integer(env, op, value.toInt());
  if (value.isDouble()) return js::number(env, value.toDouble());
  if (value.isString()) return js::text(env, value.toStringRef());
  if (value.isDevice()) return js::text(env, value.toDevice().str());
  if (value.isTuple()) return items(env, op, value.toTupleRef().elements());
  if (value.isList()) return items(env, op, value.toList().vec());
  fail("E_UNSUPPORTED", op.name + ": a result of type " + value.tagKind() + " cannot be passed to JavaScript");
}

}  // namespace tierra
