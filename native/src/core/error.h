// Native failures: thrown in C++ as NativeError, seen in JavaScript as TierraError.
#pragma once

#include <node_api.h>

#include <exception>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace tierra {

using Detail = std::variant<double, std::string>;
using Details = std::vector<std::pair<std::string, Detail>>;

// `code` is one of ErrorCode in src/core/errors.ts.
struct NativeError : std::exception {
  NativeError(std::string code, std::string message, std::string hint = {}, Details details = {});
  const char* what() const noexcept override { return message.c_str(); }

  std::string code;
  std::string message;
  std::string hint;
  Details details;
};

[[noreturn]] void fail(std::string code, std::string message, std::string hint = {}, Details details = {});

// Thrown when a JavaScript exception is already pending: unwinds to the callback's edge and leaves it as it is.
struct PendingException {};

// Throws when a Node-API call did not succeed.
void check(napi_env env, napi_status status);

// What is being handled, as a NativeError: NativeError itself, libtorch's errors (first line the message, the rest in
// details), out of memory, anything else. Call inside a catch block; also how a thread of our own keeps a failure.
NativeError describeCurrentException();

// A TierraError (plain Error before setErrorFactory); to reject a promise with, or to hand to a callback.
napi_value toJsError(napi_env env, const NativeError& error);

// Turns what is being handled into a pending JavaScript exception. Call inside a catch block.
void throwCurrentException(napi_env env) noexcept;

// Runs the body of an exported function; whatever it throws becomes a JavaScript exception.
template <typename Body>
napi_value guarded(napi_env env, Body&& body) noexcept {
  try {
    return body();
  } catch (...) {
    throwCurrentException(env);
    return nullptr;
  }
}

void registerErrors(napi_env env, napi_value exports);

}  // namespace tierra
