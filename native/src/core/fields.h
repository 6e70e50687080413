// The fields of a plain JavaScript object, read by name. Every field is required: no defaults on this side.
#pragma once

#include <cmath>
#include <string>

#include "core/js.h"

namespace tierra::js {

class Fields {
 public:
  Fields(napi_env env, napi_value object) : env_(env), object_(object) {}

  napi_value value(const char* name) const {
    napi_value found = nullptr;
    check(env_, napi_get_named_property(env_, object_, name, &found));
    return found;
  }
  bool has(const char* name) const { return !isNullish(env_, value(name)); }
  double number(const char* name) const { return readNumber(env_, value(name), name); }
  std::string text(const char* name) const { return readText(env_, value(name), name); }
  Fields object(const char* name) const { return {env_, value(name)}; }

  /// A whole number from 0 to 2^53.
  std::uint64_t count(const char* name) const {
    const double read = number(name);
    if (!(read >= 0 && read <= 9007199254740992.0 && std::floor(read) == read)) {
      fail("E_ARGUMENT", std::string(name) + " must be a whole number of at least 0, got " + std::to_string(read));
    }
    return static_cast<std::uint64_t>(read);
  }

  /// -1 stands for none.
  std::int64_t countOrNone(const char* name) const {
    const double read = number(name);
    return read == -1 ? -1 : static_cast<std::int64_t>(count(name));
  }

  bool flag(const char* name) const {
    bool read = false;
    if (napi_get_value_bool(env_, value(name), &read) != napi_ok) {
      fail("E_ARGUMENT", std::string(name) + " must be a boolean");
    }
    return read;
  }

 private:
  napi_env env_;
  napi_value object_;
};

inline napi_value texts(napi_env env, const std::vector<std::string>& values) {
  napi_value made = array(env, values.size());
  for (std::size_t i = 0; i < values.size(); ++i) setElement(env, made, static_cast<uint32_t>(i), text(env, values[i]));
  return made;
}

}  // namespace tierra::js
