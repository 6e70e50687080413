#include "optim/compressedBinding.h"

#include <stdexcept>
#include <string>

#include "core/error.h"
#include "core/js.h"
#include "core/table.h"
#include "optim/compressed.h"
#include "optim/optimizerBinding.h"

namespace tierra {

namespace {

using namespace optim;

// The bytes of a contiguous tensor on the CPU; null for one that is not given.
struct Field {
  void* data = nullptr;
  c10::ScalarType type = at::kFloat;
  std::size_t count = 0;

  Field(napi_env env, napi_value object, const char* name) {
    napi_value value;
    check(env, napi_get_named_property(env, object, name, &value));
    if (js::isNullish(env, value)) return;
    const at::Tensor& tensor = tensorOf(js::readNumber(env, value, name));
    if (!tensor.device().is_cpu() || !tensor.is_contiguous()) {
      fail("E_ARGUMENT", std::string(name) + " must be a contiguous tensor on the CPU");
    }
    data = tensor.data_ptr();
    type = tensor.scalar_type();
    count = static_cast<std::size_t>(tensor.numel());
    if (!tensor.is_inference()) tensor.unsafeGetTensorImpl()->bump_version();
  }

  template <class T>
  T* as(c10::ScalarType wanted, std::size_t elements, const char* name) const {
    if (data == nullptr) return nullptr;
    if (type != wanted || count != elements) {
      fail("E_ARGUMENT", std::string(name) + " must have " + std::to_string(elements) + " elements of " +
                             c10::toString(wanted) + ", it has " + std::to_string(count) + " of " + c10::toString(type));
    }
    return static_cast<T*>(data);
  }
};

// (path, group, gradientScale, { gradient, weight, low, m, root, mScales, rootScales, weightOut }, threads)
napi_value optimizerUpdateCompressed(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const Path path = readPath(args.text(0, "path"));
  const UpdateGroup group = readUpdateGroup(env, args[1]);
  const double scale = args.number(2, "gradientScale");
  const Field gradient(env, args[3], "gradient"), weight(env, args[3], "weight"), low(env, args[3], "low"),
      m(env, args[3], "m"), root(env, args[3], "root"), mScales(env, args[3], "mScales"),
      rootScales(env, args[3], "rootScales"), weightOut(env, args[3], "weightOut");
  const auto pool = sharedPool(args.integer(4, "threads"));
  const std::size_t count = gradient.count, blocks = momentBlocks(count);
  if (weight.count != count) fail("E_ARGUMENT", "gradient and weight differ in their count of elements");
  const CompressedState state{
      weight.data,
      low.as<std::uint16_t>(at::kShort, count, "low"),
      m.as<std::uint8_t>(at::kByte, count, "m"),
      root.as<std::uint8_t>(at::kByte, count, "root"),
      mScales.as<float>(at::kFloat, blocks, "mScales"),
      rootScales.as<float>(at::kFloat, blocks, "rootScales"),
  };
  const CompressedBuffers buffers{
      gradient.data,
      static_cast<DType>(static_cast<int>(gradient.type)),
      static_cast<DType>(static_cast<int>(weight.type)),
      state,
      state,
      weightOut.as<void>(weight.type, count, "weightOut"),
      count,
  };
  try {
    parallelUpdateCompressed(*pool, group, scale, buffers, path);
  } catch (const std::invalid_argument& error) {
    fail("E_ARGUMENT", error.what());
  }
  return nullptr;
}

}  // namespace

void registerCompressed(napi_env env, napi_value exports) {
  js::expose<optimizerUpdateCompressed>(env, exports, "optimizerUpdateCompressed");
}

}  // namespace tierra
