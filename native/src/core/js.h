// The few Node-API idioms that every exported function needs, failing through NativeError.
#pragma once

#include <node_api.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace tierra::js {

napi_value object(napi_env env);
napi_value number(napi_env env, double value);
napi_value text(napi_env env, std::string_view value);
napi_value boolean(napi_env env, bool value);
napi_value null(napi_env env);
napi_value array(napi_env env, size_t length);
napi_value numbers(napi_env env, std::span<const int64_t> values);
void set(napi_env env, napi_value target, const char* name, napi_value value);
void setElement(napi_env env, napi_value target, uint32_t index, napi_value value);

bool isNullish(napi_env env, napi_value value);
uint32_t arrayLength(napi_env env, napi_value value, const char* name);
napi_value element(napi_env env, napi_value array, uint32_t index);
std::string readText(napi_env env, napi_value value, const char* name);
double readNumber(napi_env env, napi_value value, const char* name);

// The arguments of one call, read by position; `name` is for the message when a value is of the wrong kind.
class Args {
 public:
  Args(napi_env env, napi_callback_info info);

  napi_env env() const { return env_; }
  size_t count() const { return count_; }
  napi_value operator[](size_t index) const { return values_[index]; }

  double number(size_t index, const char* name) const { return readNumber(env_, values_[index], name); }
  // A whole number of at most 2^53.
  int64_t integer(size_t index, const char* name) const;
  bool flag(size_t index, const char* name) const;
  std::string text(size_t index, const char* name) const { return readText(env_, values_[index], name); }
  std::vector<int64_t> integers(size_t index, const char* name) const;
  // A Uint8Array's bytes, valid during the call.
  std::span<uint8_t> bytes(size_t index, const char* name) const;

 private:
  static constexpr size_t kMost = 8;
  napi_env env_;
  size_t count_ = kMost;
  std::array<napi_value, kMost> values_{};
};

template <napi_callback Function>
napi_value trampoline(napi_env env, napi_callback_info info) noexcept {
  return guarded(env, [&] { return Function(env, info); });
}

void exposeRaw(napi_env env, napi_value exports, const char* name, napi_callback callback);

// Exports `Function` under `name`; what it throws becomes a TierraError.
template <napi_callback Function>
void expose(napi_env env, napi_value exports, const char* name) {
  exposeRaw(env, exports, name, &trampoline<Function>);
}

}  // namespace tierra::js
