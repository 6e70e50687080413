#include "core/tensors.h"

#include "core/environment.h"
#include "core/error.h"
#include "core/js.h"

namespace tierra {

namespace {

napi_value retain(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  return js::number(env, adopt(at::Tensor(tensorOf(args.number(0, "tensor")))));
}

napi_value release(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  Environment& environment = Environment::current();
  environment.references->drain(env);
  const double handle = args.number(0, "tensor");
  if (!environment.tensors.release(handle)) environment.tensors.get(handle);
  return nullptr;
}

napi_value releaseMany(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  bool typed = false;
  check(env, napi_is_typedarray(env, args[0], &typed));
  napi_typedarray_type type = napi_int8_array;
  size_t length = 0;
  void* data = nullptr;
  if (typed) check(env, napi_get_typedarray_info(env, args[0], &type, &length, &data, nullptr, nullptr));
  if (type != napi_float64_array) fail("E_ARGUMENT", "tensors must be a Float64Array");
  const int64_t count = args.integer(1, "count");
  if (count < 0 || static_cast<size_t>(count) > length) {
    fail("E_ARGUMENT", "count is " + std::to_string(count) + ", tensors holds " + std::to_string(length));
  }
  Environment& environment = Environment::current();
  environment.references->drain(env);
  const auto* handles = static_cast<const double*>(data);
  int64_t stale = 0;
  for (int64_t i = 0; i < count; ++i) stale += environment.tensors.release(handles[i]) ? 0 : 1;
  if (stale > 0) {
    fail("E_STATE",
         std::to_string(stale) + " of " + std::to_string(count) + " tensors were already released; the rest are now",
         {}, {{"stale", double(stale)}, {"count", double(count)}});
  }
  return nullptr;
}

napi_value liveTensors(napi_env env, napi_callback_info) {
  return js::number(env, static_cast<double>(Environment::current().tensors.live()));
}

napi_value describe(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const at::Tensor& tensor = tensorOf(args.number(0, "tensor"));
  napi_value made = js::object(env);
  js::set(env, made, "shape", js::numbers(env, {tensor.sizes().data(), tensor.sizes().size()}));
  js::set(env, made, "strides", js::numbers(env, {tensor.strides().data(), tensor.strides().size()}));
  js::set(env, made, "dtype", js::number(env, static_cast<double>(tensor.scalar_type())));
  js::set(env, made, "device", js::text(env, tensor.device().str()));
  js::set(env, made, "requiresGrad", js::boolean(env, tensor.requires_grad()));
  js::set(env, made, "isLeaf", js::boolean(env, tensor.is_leaf()));
  const double bytes = tensor.has_storage() ? static_cast<double>(tensor.storage().nbytes()) : 0;
  js::set(env, made, "storageBytes", js::number(env, bytes));
  return made;
}

napi_value sameTensor(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  return js::boolean(env, tensorOf(args.number(0, "a")).is_same(tensorOf(args.number(1, "b"))));
}

napi_value item(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const at::Tensor& tensor = tensorOf(args.number(0, "tensor"));
  if (tensor.numel() != 1) {
    fail("E_ARGUMENT", "item() needs a tensor of one element, this one has " + std::to_string(tensor.numel()));
  }
  requireBytes(tensor, "item");
  return js::number(env, tensor.item().toDouble());
}

}  // namespace

void registerTensors(napi_env env, napi_value exports) {
  js::expose<retain>(env, exports, "retain");
  js::expose<release>(env, exports, "release");
  js::expose<releaseMany>(env, exports, "releaseMany");
  js::expose<liveTensors>(env, exports, "liveTensors");
  js::expose<describe>(env, exports, "info");
  js::expose<sameTensor>(env, exports, "sameTensor");
  js::expose<item>(env, exports, "item");
}

}  // namespace tierra
