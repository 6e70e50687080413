#include "core/error.h"

#include <c10/util/Exception.h>

#include <new>

#include "core/environment.h"
#include "core/js.h"
#include "core/outOfMemory.h"

namespace tierra {

NativeError::NativeError(std::string code, std::string message, std::string hint, Details details)
    : code(std::move(code)), message(std::move(message)), hint(std::move(hint)), details(std::move(details)) {}

void fail(std::string code, std::string message, std::string hint, Details details) {
  throw NativeError(std::move(code), std::move(message), std::move(hint), std::move(details));
}

void check(napi_env env, napi_status status) {
  if (status == napi_ok) return;
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (pending) throw PendingException{};
  const napi_extended_error_info* info = nullptr;
  napi_get_last_error_info(env, &info);
  const char* text = info != nullptr && info->error_message != nullptr ? info->error_message : "unknown failure";
  fail("E_ARGUMENT", std::string("Node-API refused a value: ") + text);
}

namespace {

NativeError fromTorch(const char* code, const c10::Error& error) {
  std::string text = error.what_without_backtrace();
  const size_t end = text.find('\n');
  if (end == std::string::npos) return {code, text};
  return {code, text.substr(0, end), {}, {{"libtorch", text.substr(end + 1)}}};
}

void setErrorField(napi_env env, napi_value target, const char* name, const std::string& text) {
  if (!text.empty()) js::set(env, target, name, js::text(env, text));
}

napi_value errorFields(napi_env env, const NativeError& error) {
  napi_value fields = js::object(env);
  setErrorField(env, fields, "hint", error.hint);
  napi_value details = js::object(env);
  for (const auto& [key, detail] : error.details) {
    const double* number = std::get_if<double>(&detail);
    js::set(env, details, key.c_str(),
            number != nullptr ? js::number(env, *number) : js::text(env, std::get<std::string>(detail)));
  }
  js::set(env, fields, "details", details);
  return fields;
}

napi_value plainError(napi_env env, const NativeError& error) {
  napi_value made = nullptr;
  check(env, napi_create_error(env, js::text(env, error.code), js::text(env, error.message), &made));
  return made;
}

napi_value setErrorFactory(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  napi_valuetype type = napi_undefined;
  check(env, napi_typeof(env, args[0], &type));
  if (type != napi_function) fail("E_ARGUMENT", "setErrorFactory takes a function");
  Environment& environment = Environment::current();
  if (environment.errorFactory != nullptr) check(env, napi_delete_reference(env, environment.errorFactory));
  check(env, napi_create_reference(env, args[0], 1, &environment.errorFactory));
  return nullptr;
}

}  // namespace

NativeError describeCurrentException() {
  try {
    throw;
  } catch (const NativeError& error) {
    return error;
  } catch (const CapExceeded& error) {
    return {"E_OUT_OF_MEMORY",
            error.message(),
            error.hint(),
            {{"need", double(error.need)}, {"cap", double(error.cap)}, {"allocated", double(error.allocated)}}};
  } catch (const c10::OutOfMemoryError& error) {
    return fromTorch("E_OUT_OF_MEMORY", error);
  } catch (const c10::Error& error) {
    return fromTorch("E_OPERATOR", error);
  } catch (const std::bad_alloc&) {
    return {"E_OUT_OF_MEMORY", "the system has no memory left"};
  } catch (const std::exception& error) {
    return {"E_INTERNAL", error.what()};
  } catch (...) {
    return {"E_INTERNAL", "the native code failed without saying why"};
  }
}

napi_value toJsError(napi_env env, const NativeError& error) {
  const napi_ref factory = Environment::current().errorFactory;
  if (factory == nullptr) return plainError(env, error);
  napi_value make = nullptr;
  napi_value receiver = nullptr;
  check(env, napi_get_reference_value(env, factory, &make));
  check(env, napi_get_undefined(env, &receiver));
  const napi_value arguments[] = {js::text(env, error.code), js::text(env, error.message), errorFields(env, error)};
  napi_value made = nullptr;
  check(env, napi_call_function(env, receiver, make, 3, arguments, &made));
  return made;
}

void throwCurrentException(napi_env env) noexcept {
  try {
    throw;
  } catch (const PendingException&) {
    return;
  } catch (...) {
    try {
      napi_throw(env, toJsError(env, describeCurrentException()));
    } catch (...) {
      bool pending = false;
      napi_is_exception_pending(env, &pending);
      if (!pending) napi_throw_error(env, "E_INTERNAL", "a native failure could not be reported");
    }
  }
}

void registerErrors(napi_env env, napi_value exports) { js::expose<setErrorFactory>(env, exports, "setErrorFactory"); }

}  // namespace tierra
