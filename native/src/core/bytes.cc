#include "core/bytes.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/GradMode.h>

#include <cstring>

#include "core/environment.h"
#include "core/error.h"
#include "core/js.h"

namespace tierra {

namespace {

struct Layout {
  std::vector<int64_t> shape;
  at::ScalarType dtype;
  size_t bytes;
};

std::string shapeText(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

at::ScalarType dtypeOf(int64_t code) {
  if (code < 0 || code >= static_cast<int64_t>(at::ScalarType::Undefined)) {
    fail("E_ARGUMENT", "libtorch has no dtype of code " + std::to_string(code));
  }
  return static_cast<at::ScalarType>(code);
}

// Arguments 1 and 2, checked against the bytes of argument 0: what is too short would be read past its end.
Layout layoutOf(const js::Args& args, size_t given) {
  Layout out{args.integers(1, "shape"), dtypeOf(args.integer(2, "dtype")), 0};
  int64_t bytes = static_cast<int64_t>(at::elementSize(out.dtype));
  for (const int64_t size : out.shape) {
    if (size < 0 || __builtin_mul_overflow(bytes, size, &bytes)) {
      fail("E_ARGUMENT", "no tensor has the shape " + shapeText(out.shape));
    }
  }
  out.bytes = static_cast<size_t>(bytes);
  if (out.bytes != given) {
    fail("E_ARGUMENT",
         "shape " + shapeText(out.shape) + " of " + at::toString(out.dtype) + " takes " + std::to_string(out.bytes) +
             " bytes, got " + std::to_string(given),
         {}, {{"need", double(out.bytes)}, {"given", double(given)}});
  }
  return out;
}

napi_value fromBytes(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const auto bytes = args.bytes(0, "bytes");
  const Layout layout = layoutOf(args, bytes.size());
  at::Tensor tensor = at::empty(layout.shape, at::TensorOptions(layout.dtype));
  if (layout.bytes > 0) std::memcpy(tensor.mutable_data_ptr(), bytes.data(), layout.bytes);
  return js::number(env, adopt(std::move(tensor)));
}

napi_value wrapBytes(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const auto bytes = args.bytes(0, "bytes");
  const Layout layout = layoutOf(args, bytes.size());
  const at::TensorOptions options(layout.dtype);
  if (layout.bytes == 0) return js::number(env, adopt(at::empty(layout.shape, options)));
  const size_t elementBytes = at::elementSize(layout.dtype);
  if (reinterpret_cast<uintptr_t>(bytes.data()) % elementBytes != 0) {
    fail("E_ARGUMENT",
         std::string("bytes to wrap as ") + at::toString(layout.dtype) + " must start at a multiple of " +
             std::to_string(elementBytes) + " bytes",
         "Copy them with fromBytes instead.");
  }
  const auto references = Environment::current().references;
  references->drain(env);
  napi_ref reference = nullptr;
  check(env, napi_create_reference(env, args[0], 1, &reference));
  return js::number(env, adopt(at::from_blob(
                             bytes.data(), layout.shape,
                             [references, reference](void*) { references->retire(reference); }, options)));
}

napi_value readBytes(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const at::Tensor tensor = tensorOf(args.number(0, "tensor")).detach();
  const auto into = args.bytes(1, "into");
  const size_t need = static_cast<size_t>(tensor.numel()) * tensor.element_size();
  if (into.size() != need) {
    fail("E_ARGUMENT",
         "the tensor's elements take " + std::to_string(need) + " bytes, `into` has " + std::to_string(into.size()),
         {}, {{"need", double(need)}, {"given", double(into.size())}});
  }
  if (need == 0) return nullptr;
  requireBytes(tensor, "readBytes");
  const c10::AutoGradMode noGraph(false);
  const at::Tensor plain = tensor.to(at::kCPU).resolve_conj().resolve_neg().contiguous();
  std::memcpy(into.data(), plain.const_data_ptr(), need);
  return nullptr;
}

}  // namespace

void registerBytes(napi_env env, napi_value exports) {
  js::expose<fromBytes>(env, exports, "fromBytes");
  js::expose<wrapBytes>(env, exports, "wrapBytes");
  js::expose<readBytes>(env, exports, "readBytes");
}

}  // namespace tierra
