#include "core/js.h"

#include <cmath>

namespace tierra::js {

napi_value object(napi_env env) {
  napi_value made = nullptr;
  check(env, napi_create_object(env, &made));
  return made;
}

napi_value number(napi_env env, double value) {
  napi_value made = nullptr;
  check(env, napi_create_double(env, value, &made));
  return made;
}

napi_value text(napi_env env, std::string_view value) {
  napi_value made = nullptr;
  check(env, napi_create_string_utf8(env, value.data(), value.size(), &made));
  return made;
}

napi_value boolean(napi_env env, bool value) {
  napi_value made = nullptr;
  check(env, napi_get_boolean(env, value, &made));
  return made;
}

napi_value null(napi_env env) {
  napi_value made = nullptr;
  check(env, napi_get_null(env, &made));
  return made;
}

napi_value array(napi_env env, size_t length) {
  napi_value made = nullptr;
  check(env, napi_create_array_with_length(env, length, &made));
  return made;
}

napi_value numbers(napi_env env, std::span<const int64_t> values) {
  napi_value made = array(env, values.size());
  for (uint32_t i = 0; i < values.size(); ++i) setElement(env, made, i, number(env, double(values[i])));
  return made;
}

void set(napi_env env, napi_value target, const char* name, napi_value value) {
  check(env, napi_set_named_property(env, target, name, value));
}

void setElement(napi_env env, napi_value target, uint32_t index, napi_value value) {
  check(env, napi_set_element(env, target, index, value));
}

bool isNullish(napi_env env, napi_value value) {
  napi_valuetype type = napi_undefined;
  check(env, napi_typeof(env, value, &type));
  return type == napi_null || type == napi_undefined;
}

uint32_t arrayLength(napi_env env, napi_value value, const char* name) {
  uint32_t length = 0;
  if (napi_get_array_length(env, value, &length) != napi_ok) fail("E_ARGUMENT", std::string(name) + " must be an array");
  return length;
}

napi_value element(napi_env env, napi_value array, uint32_t index) {
  napi_value value = nullptr;
  check(env, napi_get_element(env, array, index, &value));
  return value;
}

std::string readText(napi_env env, napi_value value, const char* name) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok) {
    fail("E_ARGUMENT", std::string(name) + " must be a string");
  }
  std::string out(length, '\0');
  check(env, napi_get_value_string_utf8(env, value, out.data(), length + 1, &length));
  return out;
}

double readNumber(napi_env env, napi_value value, const char* name) {
  double out = 0;
  if (napi_get_value_double(env, value, &out) != napi_ok) fail("E_ARGUMENT", std::string(name) + " must be a number");
  return out;
}

namespace {

int64_t wholeNumber(double value, const char* name) {
  if (std::abs(value) > 9007199254740992.0 || value != std::trunc(value) || std::isnan(value)) {
    fail("E_ARGUMENT", std::string(name) + " must be a whole number, got " + std::to_string(value));
  }
  return static_cast<int64_t>(value);
}

}  // namespace

Args::Args(napi_env env, napi_callback_info info) : env_(env) {
  // Node-API fills the positions beyond those given with undefined.
  check(env, napi_get_cb_info(env, info, &count_, values_.data(), nullptr, nullptr));
}

int64_t Args::integer(size_t index, const char* name) const { return wholeNumber(number(index, name), name); }

bool Args::flag(size_t index, const char* name) const {
  bool out = false;
  if (napi_get_value_bool(env_, values_[index], &out) != napi_ok) {
    fail("E_ARGUMENT", std::string(name) + " must be true or false");
  }
  return out;
}

std::vector<int64_t> Args::integers(size_t index, const char* name) const {
  const uint32_t length = arrayLength(env_, values_[index], name);
  std::vector<int64_t> out(length);
  for (uint32_t i = 0; i < length; ++i) {
    out[i] = wholeNumber(readNumber(env_, element(env_, values_[index], i), name), name);
  }
  return out;
}

std::span<uint8_t> Args::bytes(size_t index, const char* name) const {
  bool typed = false;
  check(env_, napi_is_typedarray(env_, values_[index], &typed));
  napi_typedarray_type type = napi_int8_array;
  size_t length = 0;
  void* data = nullptr;
  if (typed) {
    check(env_, napi_get_typedarray_info(env_, values_[index], &type, &length, &data, nullptr, nullptr));
  }
  if (type != napi_uint8_array) fail("E_ARGUMENT", std::string(name) + " must be a Uint8Array");
  return {static_cast<uint8_t*>(data), length};
}

void exposeRaw(napi_env env, napi_value exports, const char* name, napi_callback callback) {
  napi_value made = nullptr;
  check(env, napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, nullptr, &made));
  set(env, exports, name, made);
}

}  // namespace tierra::js
