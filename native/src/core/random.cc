#include "core/random.h"

#include <ATen/Context.h>
#include <ATen/ops/empty.h>

#include <cstring>
#include <mutex>

#include "core/cuda.h"
#include "core/device.h"
#include "core/error.h"
#include "core/js.h"

namespace tierra {

namespace {

at::Generator generatorOf(const js::Args& args) {
  const c10::Device device = deviceNamed(args.text(0, "device"));
  if (device.is_cuda() && device.index() >= cuda::deviceCount()) {
    fail("E_ARGUMENT", "there is no device " + device.str() + " to draw random numbers on");
  }
  return at::globalContext().defaultGenerator(device);
}

napi_value seed(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  uint64_t value = 0;
  bool lossless = false;
  if (napi_get_value_bigint_uint64(env, args[1], &value, &lossless) != napi_ok || !lossless) {
    fail("E_ARGUMENT", "a seed must be a bigint from 0 to 2^64 - 1");
  }
  at::Generator generator = generatorOf(args);
  const std::lock_guard lock(generator.mutex());
  generator.set_current_seed(value);
  return nullptr;
}

napi_value getRandomState(napi_env env, napi_callback_info info) {
  at::Generator generator = generatorOf(js::Args(env, info));
  at::Tensor state;
  {
    const std::lock_guard lock(generator.mutex());
    state = generator.get_state();
  }
  const size_t length = state.nbytes();
  void* data = nullptr;
  napi_value buffer = nullptr;
  check(env, napi_create_arraybuffer(env, length, &data, &buffer));
  std::memcpy(data, state.const_data_ptr(), length);
  napi_value made = nullptr;
  check(env, napi_create_typedarray(env, napi_uint8_array, length, buffer, 0, &made));
  return made;
}

napi_value setRandomState(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  at::Generator generator = generatorOf(args);
  const auto bytes = args.bytes(1, "state");
  at::Tensor state = at::empty({static_cast<int64_t>(bytes.size())}, at::TensorOptions(at::kByte));
  if (!bytes.empty()) std::memcpy(state.mutable_data_ptr(), bytes.data(), bytes.size());
  const std::lock_guard lock(generator.mutex());
  generator.set_state(state);
  return nullptr;
}

}  // namespace

void registerRandom(napi_env env, napi_value exports) {
  js::expose<seed>(env, exports, "seed");
  js::expose<getRandomState>(env, exports, "getRandomState");
  js::expose<setRandomState>(env, exports, "setRandomState");
}

}  // namespace tierra
