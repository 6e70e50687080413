// JavaScript values to libtorch's, as the operator's schema asks.
#include <ATen/Context.h>
#include <c10/core/Device.h>

#include <cmath>

#include "core/environment.h"
#include "core/error.h"
#include "core/js.h"
#include "core/operators.h"

namespace tierra {

namespace {

constexpr double kExact = 9007199254740992.0;

napi_valuetype typeOf(napi_env env, napi_value value) {
  napi_valuetype type = napi_undefined;
  check(env, napi_typeof(env, value, &type));
  return type;
}

std::string describe(napi_env env, napi_value value) {
  bool isArray = false;
  napi_is_array(env, value, &isArray);
  if (isArray) return "an array of " + std::to_string(js::arrayLength(env, value, "value"));
  switch (typeOf(env, value)) {
    case napi_undefined:
      return "undefined";
    case napi_null:
      return "null";
    case napi_boolean:
      return "a boolean";
    case napi_number: {
      std::string text = std::to_string(js::readNumber(env, value, "value"));
      text.erase(text.find_last_not_of('0') + 1);
      if (text.back() == '.') text.pop_back();
      return "the number " + text;
    }
    case napi_string:
      return "the string \"" + js::readText(env, value, "value") + "\"";
    case napi_bigint:
      return "a bigint";
    case napi_function:
      return "a function";
    default:
      return "an object";
  }
}

// One argument on its way, with what a message about it needs.
struct Reader {
  napi_env env;
  const Operator& op;
  const Parameter& parameter;

  [[noreturn]] void refuse(napi_value value) const {
    fail("E_OPERATOR",
         op.name + ": argument '" + parameter.name + "' must be " + parameter.type + ", got " + describe(env, value), {},
         {{"operator", op.name}, {"argument", parameter.name}, {"expected", parameter.type}});
  }

  const at::Tensor& tensor(napi_value value) const {
    double handle = 0;
    if (napi_get_value_double(env, value, &handle) != napi_ok) refuse(value);
    const at::Tensor* found = Environment::current().tensors.find(handle);
    if (found == nullptr) {
      fail("E_STATE", op.name + ": argument '" + parameter.name + "': tensor was already released",
           "A handle is used after its dispose() or outside its scope.",
           {{"operator", op.name}, {"argument", parameter.name}, {"handle", handle}});
    }
    if (parameter.needsBytes && !hasBytes(*found)) {
      requireBytes(*found, op.name + ": argument '" + parameter.name + "'");
    }
    return *found;
  }

  int64_t integer(napi_value value) const {
    double number = 0;
    if (napi_get_value_double(env, value, &number) == napi_ok) {
      if (number != std::trunc(number) || std::abs(number) > kExact) refuse(value);
      return static_cast<int64_t>(number);
    }
    int64_t whole = 0;
    bool lossless = false;
    if (napi_get_value_bigint_int64(env, value, &whole, &lossless) != napi_ok || !lossless) refuse(value);
    return whole;
  }

  double floating(napi_value value) const {
    double number = 0;
    if (napi_get_value_double(env, value, &number) != napi_ok) refuse(value);
    return number;
  }

  bool boolean(napi_value value) const {
    bool flag = false;
    if (napi_get_value_bool(env, value, &flag) != napi_ok) refuse(value);
    return flag;
  }

  // Whole numbers are int Scalars, as in Python; minus zero is not one: an int has no sign to keep there.
  at::Scalar scalar(napi_value value) const {
    double number = 0;
    if (napi_get_value_double(env, value, &number) == napi_ok) {
      const bool whole = number == std::trunc(number) && std::abs(number) <= kExact;
      if (whole && !(number == 0 && std::signbit(number))) return at::Scalar(static_cast<int64_t>(number));
      return at::Scalar(number);
    }
    bool flag = false;
    if (napi_get_value_bool(env, value, &flag) == napi_ok) return at::Scalar(flag);
    return at::Scalar(integer(value));
  }

  std::string string(napi_value value) const {
    if (typeOf(env, value) != napi_string) refuse(value);
    return js::readText(env, value, parameter.name.c_str());
  }

  c10::Device device(napi_value value) const {
    const std::string name = string(value);
    try {
      return c10::Device(name);
    } catch (const c10::Error&) {
      refuse(value);
    }
  }

  at::Generator generator(napi_value value) const { return at::globalContext().defaultGenerator(device(value)); }

  c10::IValue one(napi_value value) const {
    switch (parameter.kind) {
      case Kind::tensor:
        return tensor(value);
      case Kind::integer:
        return integer(value);
      case Kind::floating:
        return floating(value);
      case Kind::boolean:
        return boolean(value);
      case Kind::scalar:
        return scalar(value);
      case Kind::device:
        return device(value);
      case Kind::string:
        return string(value);
      case Kind::generator:
        return generator(value);
      case Kind::unsupported:
        break;
    }
    fail("E_UNSUPPORTED", op.name + ": argument '" + parameter.name + "' is of type " + parameter.type +
                              ", which cannot be passed from JavaScript");
  }

  template <typename T, typename Read>
  c10::List<T> list(napi_value value, Read read) const {
    c10::List<T> out;
    bool isArray = false;
    check(env, napi_is_array(env, value, &isArray));
    if (!isArray) {
      if (parameter.fixedSize == 0) refuse(value);
      out.reserve(parameter.fixedSize);
      const T same = read(value);
      for (size_t i = 0; i < parameter.fixedSize; ++i) out.push_back(same);
      return out;
    }
    const uint32_t length = js::arrayLength(env, value, parameter.name.c_str());
    out.reserve(length);
    for (uint32_t i = 0; i < length; ++i) out.push_back(read(js::element(env, value, i)));
    return out;
  }

  c10::IValue optionalTensors(napi_value value) const {
    return list<std::optional<at::Tensor>>(value, [&](napi_value element) -> std::optional<at::Tensor> {
      if (js::isNullish(env, element)) return std::nullopt;
      return tensor(element);
    });
  }

  c10::IValue scalars(napi_value value) const {
    const uint32_t length = js::arrayLength(env, value, parameter.name.c_str());
    c10::impl::GenericList out(c10::NumberType::get());
    out.reserve(length);
    for (uint32_t i = 0; i < length; ++i) out.push_back(scalar(js::element(env, value, i)));
    return out;
  }

  c10::IValue many(napi_value value) const {
    switch (parameter.kind) {
      case Kind::tensor:
        if (parameter.elementOptional) return optionalTensors(value);
        return list<at::Tensor>(value, [&](napi_value element) { return tensor(element); });
      case Kind::integer:
        return list<int64_t>(value, [&](napi_value element) { return integer(element); });
      case Kind::floating:
        return list<double>(value, [&](napi_value element) { return floating(element); });
      case Kind::boolean:
        return list<bool>(value, [&](napi_value element) { return boolean(element); });
      case Kind::string:
        return list<std::string>(value, [&](napi_value element) { return string(element); });
      case Kind::scalar:
        return scalars(value);
      default:
        return one(value);
    }
  }
};

}  // namespace

c10::IValue toIValue(napi_env env, const Operator& op, const Parameter& parameter, napi_value value) {
  const Reader reader{env, op, parameter};
  // Asked first only where it is the likely answer: numbers are by far the most frequent.
  if (parameter.optional && typeOf(env, value) == napi_null) return c10::IValue();
  return parameter.list ? reader.many(value) : reader.one(value);
}

}  // namespace tierra
