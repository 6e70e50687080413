// What the addon exports, part by part. The contract is src/native/binding.ts.
#include <node_api.h>

#include "core/autograd.h"
#include "core/bytes.h"
#include "core/device.h"
#include "core/environment.h"
#include "core/error.h"
#include "core/js.h"
#include "core/memory.h"
#include "core/modes.h"
#include "core/operators.h"
#include "core/random.h"
#include "core/reading.h"
#include "core/splitBackward.h"
#include "core/tensors.h"
#include "core/watchdog.h"
#include "cuda/binding.h"
#include "cuda/graphBinding.h"
#include "dist/backend.h"
#include "dist/binding.h"
#include "executor/binding.h"
#include "io/appendBinding.h"
#include "io/binding.h"
#include "memory/binding.h"
#include "optim/compressedBinding.h"
#include "optim/optimizerBinding.h"

namespace tierra {

namespace {

// As in src/native/binding.ts: raised together with every change.
constexpr double kContract = 17;

#ifdef TIERRA_CUDA
constexpr bool kCuda = true;
#else
constexpr bool kCuda = false;
#endif
#ifdef TIERRA_URING
constexpr bool kUring = true;
#else
constexpr bool kUring = false;
#endif

napi_value buildInfo(napi_env env) {
  napi_value made = js::object(env);
  js::set(env, made, "torchVersion", js::text(env, TIERRA_TORCH_VERSION));
  js::set(env, made, "compiler", js::text(env, __VERSION__));
  js::set(env, made, "cuda", js::boolean(env, kCuda));
  js::set(env, made, "uring", js::boolean(env, kUring));
  js::set(env, made, "gloo", js::boolean(env, dist::hasGloo()));
  js::set(env, made, "nccl", js::boolean(env, dist::hasNccl()));
  js::set(env, made, "sourceHash", js::text(env, TIERRA_SOURCE_HASH));
  return made;
}

napi_value registerAll(napi_env env, napi_value exports) {
  Environment::create(env);
  js::set(env, exports, "contract", js::number(env, kContract));
  js::set(env, exports, "buildInfo", buildInfo(env));
  registerErrors(env, exports);
  registerMemory(env, exports);
  registerOperators(env, exports);
  registerTensors(env, exports);
  registerReading(env, exports);
  registerBytes(env, exports);
  registerAutograd(env, exports);
  registerSplitBackward(env, exports);
  registerModes(env, exports);
  registerRandom(env, exports);
  registerDevices(env, exports);
  registerOptimizer(env, exports);
  registerCompressed(env, exports);
  registerArenas(env, exports);
  registerSwaps(env, exports);
  registerAppendFiles(env, exports);
  registerExecutors(env, exports);
  registerKernels(env, exports);
  registerGraphs(env, exports);
  dist::registerDist(env, exports);
  registerWatchdog(env, exports);
  return exports;
}

}  // namespace

}  // namespace tierra

NAPI_MODULE_INIT() {
  return tierra::guarded(env, [&] { return tierra::registerAll(env, exports); });
}
