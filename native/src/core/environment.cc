#include "core/environment.h"

#include "core/error.h"

namespace tierra {

namespace {

thread_local std::unique_ptr<Environment> ofThisThread;

void takeDown(void*) {
  Environment& environment = *ofThisThread;
  while (!environment.inferenceModes.empty()) environment.inferenceModes.pop_back();
  environment.tensors.clear();
  environment.references->close(environment.env);
  if (environment.errorFactory != nullptr) napi_delete_reference(environment.env, environment.errorFactory);
  ofThisThread.reset();
}

}  // namespace

Environment& Environment::current() {
  if (ofThisThread == nullptr) fail("E_STATE", "the addon was not opened on this thread, or was already taken down");
  return *ofThisThread;
}

void Environment::create(napi_env env) {
  if (ofThisThread != nullptr) {
    fail("E_STATE", "the addon is already open in another JavaScript context of this thread",
         "Open it once per thread, through src/native/load.ts.");
  }
  ofThisThread = std::make_unique<Environment>();
  ofThisThread->env = env;
  check(env, napi_add_env_cleanup_hook(env, takeDown, nullptr));
}

}  // namespace tierra
