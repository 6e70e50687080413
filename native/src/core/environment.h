// What belongs to one JavaScript environment (the main thread's, or a worker's): its handles and its modes.
#pragma once

#include <c10/core/InferenceMode.h>
#include <node_api.h>

#include <memory>
#include <vector>

#include "core/operators.h"
#include "core/references.h"
#include "core/table.h"

namespace tierra {

struct Environment {
  // The calling thread's environment. Only JavaScript threads have one: threads of our own must not ask.
  static Environment& current();
  // Makes one for this thread and has Node take it down with the environment. Throws E_STATE when the thread already
  // has one (the addon opened from two contexts of one thread).
  static void create(napi_env env);

  napi_env env = nullptr;
  napi_ref errorFactory = nullptr;
  TensorTable tensors;
  OperatorTable operators;
  // Inference mode is a guard over thread-local state: popped in the order pushed.
  std::vector<std::unique_ptr<c10::InferenceMode>> inferenceModes;
  std::shared_ptr<ReferenceQueue> references = std::make_shared<ReferenceQueue>();
};

}  // namespace tierra
