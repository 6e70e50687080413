#include "core/modes.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include "core/environment.h"
#include "core/error.h"
#include "core/js.h"

namespace tierra {

namespace {

napi_value setGradMode(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const bool on = args.flag(0, "on");
  const bool before = c10::GradMode::is_enabled();
  c10::GradMode::set_enabled(on);
  return js::boolean(env, before);
}

napi_value pushInferenceMode(napi_env, napi_callback_info) {
  Environment::current().inferenceModes.push_back(std::make_unique<c10::InferenceMode>());
  return nullptr;
}

napi_value popInferenceMode(napi_env, napi_callback_info) {
  auto& modes = Environment::current().inferenceModes;
  if (modes.empty()) fail("E_STATE", "popInferenceMode without its pushInferenceMode");
  modes.pop_back();
  return nullptr;
}

napi_value getThreads(napi_env env, napi_callback_info) { return js::number(env, at::get_num_threads()); }

napi_value setThreads(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const int64_t count = args.integer(0, "count");
  if (count < 1 || count > 4096) fail("E_ARGUMENT", "threads must be 1 to 4096, got " + std::to_string(count));
  at::set_num_threads(static_cast<int>(count));
  return nullptr;
}

napi_value setDeterministic(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const bool on = args.flag(0, "on");
  at::Context& context = at::globalContext();
  context.setDeterministicAlgorithms(on, /*warn_only=*/false);
  // Filling every new tensor finds reads of unwritten memory, and costs a pass over each: not wanted in training.
  context.setDeterministicFillUninitializedMemory(false);
  context.setDeterministicCuDNN(on);
  return nullptr;
}

}  // namespace

void registerModes(napi_env env, napi_value exports) {
  js::expose<setGradMode>(env, exports, "setGradMode");
  js::expose<pushInferenceMode>(env, exports, "pushInferenceMode");
  js::expose<popInferenceMode>(env, exports, "popInferenceMode");
  js::expose<getThreads>(env, exports, "getThreads");
  js::expose<setThreads>(env, exports, "setThreads");
  js::expose<setDeterministic>(env, exports, "setDeterministic");
}

}  // namespace tierra
