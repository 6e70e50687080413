// The dispatcher's door.
#include <array>
#include <optional>
#include <string>

#include "core/environment.h"
#include "core/error.h"
#include "core/js.h"
#include "core/operators.h"

namespace tierra {

namespace {

constexpr size_t kMostArguments = 48;

napi_value findOperator(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  return js::number(env, Environment::current().operators.find(args.text(0, "name"), args.text(1, "overload")));
}

napi_value operatorSchema(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const Operator& op = Environment::current().operators.get(args.number(0, "operator"));
  return js::text(env, c10::toString(op.handle.schema()));
}

napi_value listOperators(napi_env env, napi_callback_info) {
  auto& dispatcher = c10::Dispatcher::singleton();
  std::vector<std::string> schemas;
  for (const c10::OperatorName& name : dispatcher.getAllOpNames()) {
    const auto found = dispatcher.findSchema(name);
    if (found.has_value()) schemas.push_back(c10::toString(found->schema()));
  }
  napi_value made = js::array(env, schemas.size());
  for (uint32_t i = 0; i < schemas.size(); ++i) js::setElement(env, made, i, js::text(env, schemas[i]));
  return made;
}

c10::IValue defaultOf(const Operator& op, const Parameter& parameter) {
  if (parameter.defaultValue.has_value()) return *parameter.defaultValue;
  fail("E_OPERATOR", op.name + ": argument '" + parameter.name + "' (" + parameter.type + ") is missing", {},
       {{"operator", op.name}, {"argument", parameter.name}, {"expected", parameter.type}});
}

void run(const Operator& op, torch::jit::Stack& stack) {
  try {
    op.handle.callBoxed(stack);
  } catch (const c10::OutOfMemoryError&) {
    throw;
  } catch (const c10::Error&) {
    NativeError error = describeCurrentException();
    error.message = op.name + ": " + error.message;
    error.details.emplace_back("operator", op.name);
    throw error;
  }
}

napi_value call(napi_env env, napi_callback_info info) {
  std::array<napi_value, kMostArguments> values;
  size_t count = values.size();
  check(env, napi_get_cb_info(env, info, &count, values.data(), nullptr, nullptr));
  Environment& environment = Environment::current();
  environment.references->drain(env);
  const Operator& op = environment.operators.get(js::readNumber(env, values[0], "operator"));
  const size_t most = op.parameters.size();
  if (count - 1 > most) {
    fail("E_OPERATOR",
         op.name + " takes at most " + std::to_string(most) + " arguments, got " + std::to_string(count - 1), {},
         {{"operator", op.name}});
  }
  torch::jit::Stack stack;
  stack.reserve(most);
  for (size_t i = 0; i < most; ++i) {
    const Parameter& parameter = op.parameters[i];
    napi_valuetype type = napi_undefined;
    if (i + 1 < count) check(env, napi_typeof(env, values[i + 1], &type));
    stack.push_back(type == napi_undefined ? defaultOf(op, parameter) : toIValue(env, op, parameter, values[i + 1]));
  }
  run(op, stack);
  return toResult(env, op, stack);
}

}  // namespace

void registerOperators(napi_env env, napi_value exports) {
  js::expose<findOperator>(env, exports, "findOperator");
  js::expose<operatorSchema>(env, exports, "operatorSchema");
  js::expose<listOperators>(env, exports, "listOperators");
  js::expose<call>(env, exports, "call");
}

}  // namespace tierra
