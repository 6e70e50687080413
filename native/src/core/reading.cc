#include "core/reading.h"

#include <ATen/ATen.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <memory>
#include <optional>
#include <vector>

#include "core/environment.h"
#include "core/error.h"
#include "core/js.h"
#include "core/table.h"

namespace tierra {

namespace {

// Waits for what was launched before it was started, not for what came after.
struct Reading {
  // One double for each tensor, in host memory, until they are asked for. Page-locked memory goes back at once then: the collector
  // takes its time, and every step would lock more.
  at::Tensor arriving;
  // Past once they are there; none where nothing had to travel.
  std::optional<c10::Event> arrived;
  std::vector<double> values;
};

napi_value startReading(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  std::vector<at::Tensor> ones;
  for (uint32_t i = 0; i < js::arrayLength(env, args[0], "tensors"); ++i) {
    const at::Tensor& tensor = tensorOf(js::readNumber(env, js::element(env, args[0], i), "tensor"));
    if (tensor.numel() != 1) {
      fail("E_ARGUMENT", "readLater() takes tensors of one element, this one has " + std::to_string(tensor.numel()));
    }
    requireBytes(tensor, "readLater");
    if (!ones.empty() && tensor.device() != ones[0].device()) {
      fail("E_ARGUMENT", "readLater() takes tensors of one device, these are on " + ones[0].device().str() + " and " +
                             tensor.device().str());
    }
    ones.push_back(tensor);
  }
  auto reading = std::make_unique<Reading>();
  const at::NoGradGuard noGrad;
  for (at::Tensor& one : ones) one = one.detach().reshape({1}).to(at::kDouble);
  if (!ones.empty()) reading->arriving = at::cat(ones);
  if (!ones.empty() && !ones[0].is_cpu()) {
    const at::Device device = ones[0].device();
    const at::Tensor there = reading->arriving;
    reading->arriving = at::empty(there.sizes(), at::TensorOptions().dtype(at::kDouble).pinned_memory(true));
    reading->arriving.copy_(there, /*non_blocking=*/true);
    reading->arrived.emplace(device.type());
    reading->arrived->record(c10::impl::VirtualGuardImpl(device.type()).getStream(device));
  }
  napi_value made;
  check(env, napi_create_external(
                 env, reading.get(), [](napi_env, void* data, void*) { delete static_cast<Reading*>(data); }, nullptr,
                 &made));
  reading.release();
  return made;
}

napi_value finishReading(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  void* data = nullptr;
  check(env, napi_get_value_external(env, args[0], &data));
  auto& reading = *static_cast<Reading*>(data);
  if (reading.arrived) reading.arrived->synchronize();
  reading.arrived.reset();
  if (reading.arriving.defined()) {
    const double* first = reading.arriving.const_data_ptr<double>();
    reading.values.assign(first, first + reading.arriving.numel());
    reading.arriving.reset();
  }
  napi_value found = js::array(env, reading.values.size());
  for (size_t i = 0; i < reading.values.size(); ++i) {
    js::setElement(env, found, static_cast<uint32_t>(i), js::number(env, reading.values[i]));
  }
  return found;
}

}  // namespace

void registerReading(napi_env env, napi_value exports) {
  js::expose<startReading>(env, exports, "startReading");
  js::expose<finishReading>(env, exports, "finishReading");
}

}  // namespace tierra
