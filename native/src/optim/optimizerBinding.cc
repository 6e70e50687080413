#include "optim/optimizerBinding.h"

#include <ATen/ops/empty.h>

#include <cstring>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <vector>

#include "core/error.h"
#include "core/js.h"
#include "core/table.h"
#include "cuda/deviceOptimizer.h"
#include "optim/elementwise.h"
#include "optim/norms.h"
#include "optim/pool.h"
#include "optim/update.h"

namespace tierra {

namespace {

using namespace optim;

napi_value property(napi_env env, napi_value object, const char* name) {
  napi_value value;
  check(env, napi_get_named_property(env, object, name, &value));
  return value;
}

double numberIn(napi_env env, napi_value object, const char* name) {
  return js::readNumber(env, property(env, object, name), name);
}

bool flagIn(napi_env env, napi_value object, const char* name) {
  bool value = false;
  if (napi_get_value_bool(env, property(env, object, name), &value) != napi_ok) {
    fail("E_ARGUMENT", std::string(name) + " must be a boolean");
  }
  return value;
}

Rule ruleOf(const std::string& name) {
  if (name == "adamw") return Rule::adamw;
  if (name == "sgd") return Rule::sgd;
  if (name == "lion") return Rule::lion;
  fail("E_ARGUMENT", "no update rule is called " + name, "The rules are adamw, sgd and lion.");
}

Path pathOf(const std::string& name) {
  for (Path path : {Path::automatic, Path::scalar, Path::avx2, Path::avx512, Path::neon}) {
    if (name == pathName(path)) return path;
  }
  fail("E_ARGUMENT", "no instruction set path is called " + name);
}

UpdateGroup groupOf(napi_env env, napi_value group) {
  return {
      numberIn(env, group, "lr"),
      numberIn(env, group, "beta1"),
      numberIn(env, group, "beta2"),
      numberIn(env, group, "eps"),
      numberIn(env, group, "weightDecay"),
      numberIn(env, group, "biasCorrection1"),
      numberIn(env, group, "biasCorrection2"),
      numberIn(env, group, "momentum"),
      flagIn(env, group, "nesterov"),
  };
}

DType dtypeOf(double code, const char* what) {
  const DType type = static_cast<DType>(static_cast<int>(code));
  if (!isKnown(type)) {
    fail("E_ARGUMENT", std::string(what) + " has element type code " + std::to_string(static_cast<int>(code)),
         "The optimizer works on float16, bfloat16, float32 and float64.");
  }
  return type;
}

/// One pool for as long as the thread count stays; a call that is still running keeps the former one alive.
std::shared_ptr<Pool> poolOf(int64_t threads) {
  static std::mutex mutex;
  // Never destroyed: joining threads while the process ends can hang.
  static auto& shared = *new std::shared_ptr<Pool>();
  if (threads < 1 || threads > 1024) fail("E_ARGUMENT", "threads must be 1 to 1024, got " + std::to_string(threads));
  std::lock_guard lock(mutex);
  if (!shared || shared->threads() != static_cast<std::size_t>(threads)) shared = std::make_shared<Pool>(threads);
  return shared;
}

constexpr int onHost = -1;

// Elements of a tensor of the table, checked to lie where a kernel may touch them.
struct Elements {
  void* data = nullptr;
  DType type = DType::float32;
  std::size_t count = 0;
  int device = onHost;  // or the CUDA device's index
};

Elements elementsOf(double handle, const char* what) {
  const at::Tensor& tensor = tensorOf(handle);
  if (!(tensor.device().is_cpu() || tensor.device().is_cuda()) || !tensor.is_contiguous()) {
    fail("E_ARGUMENT", std::string(what) + " must be a contiguous tensor on the CPU or a CUDA device, this one is on " +
                           tensor.device().str() + (tensor.is_contiguous() ? "" : " and not contiguous"));
  }
  const auto count = static_cast<std::size_t>(tensor.numel());
  const DType type = dtypeOf(static_cast<double>(tensor.scalar_type()), what);
  const auto needed = (static_cast<std::size_t>(tensor.storage_offset()) + count) * elementBytes(type);
  if (tensor.storage().nbytes() < needed) {
    fail("E_STATE", std::string(what) + " has its bytes elsewhere: the storage holds " +
                        std::to_string(tensor.storage().nbytes()) + " of " + std::to_string(needed));
  }
  return {tensor.data_ptr(), type, count, tensor.device().is_cpu() ? onHost : static_cast<int>(tensor.device().index())};
}

void checkDevice(const Elements& elements, int device, const char* what) {
  if (elements.device == device) return;
  const auto name = [](int index) { return index == onHost ? std::string("the CPU") : "cuda:" + std::to_string(index); };
  fail("E_ARGUMENT", std::string(what) + " is on " + name(elements.device) + ", the others are on " + name(device));
}

// Tells autograd that the tensor was written, so that a graph that saved it refuses to run backward.
void markWritten(double handle) {
  const at::Tensor& tensor = tensorOf(handle);
  if (!tensor.is_inference()) tensor.unsafeGetTensorImpl()->bump_version();
}

struct TensorField {
  bool given = false;
  double handle = 0;
  Elements elements;
};

TensorField fieldOf(napi_env env, napi_value object, const char* name) {
  const napi_value value = property(env, object, name);
  if (js::isNullish(env, value)) return {};
  const double handle = js::readNumber(env, value, name);
  return {true, handle, elementsOf(handle, name)};
}

void checkCount(const TensorField& field, std::size_t count, const char* name) {
  if (field.given && field.elements.count != count) {
    fail("E_ARGUMENT", std::string(name) + " has " + std::to_string(field.elements.count) +
                           " elements, the gradient has " + std::to_string(count));
  }
}

void checkType(const TensorField& field, DType type, const char* name) {
  if (field.given && field.elements.type != type) {
    fail("E_ARGUMENT", std::string(name) + " must have the element type of the master weights");
  }
}

napi_value normObject(napi_env env, const SquaredNorm& norm) {
  napi_value made = js::object(env);
  js::set(env, made, "sum", js::number(env, norm.sum));
  js::set(env, made, "nonFinite", js::number(env, static_cast<double>(norm.nonFinite)));
  return made;
}

// The tensors of one update, checked against one another.
struct UpdateFields {
  TensorField gradient, master, m, v, parameter;

  UpdateFields(napi_env env, napi_value object)
      : gradient(fieldOf(env, object, "gradient")),
        master(fieldOf(env, object, "master")),
        m(fieldOf(env, object, "m")),
        v(fieldOf(env, object, "v")),
        parameter(fieldOf(env, object, "parameterOut")) {
    if (!gradient.given || !master.given) fail("E_ARGUMENT", "an update needs a gradient and master weights");
    const std::size_t count = gradient.elements.count;
    checkCount(master, count, "master");
    checkCount(m, count, "m");
    checkCount(v, count, "v");
    checkCount(parameter, count, "parameterOut");
    checkType(m, master.elements.type, "m");
    checkType(v, master.elements.type, "v");
    if (m.given) checkDevice(m.elements, device(), "m");
    if (v.given) checkDevice(v.elements, device(), "v");
    if (parameter.given) checkDevice(parameter.elements, device(), "parameterOut");
    checkDevice(gradient.elements, device(), "gradient");
  }

  int device() const { return master.elements.device; }

  UpdateBuffers buffers() const {
    return {gradient.elements.data, gradient.elements.type, master.elements.type, master.elements.data,
            m.elements.data, v.elements.data, master.elements.data, m.elements.data, v.elements.data,
            parameter.elements.data, parameter.elements.type, gradient.elements.count};
  }

  void markAll() const {
    for (const TensorField* field : {&master, &m, &v, &parameter}) {
      if (field->given) markWritten(field->handle);
    }
  }
};

// (rule, group, gradientScale, { gradient, master, m, v, parameterOut }, threads)
napi_value optimizerUpdate(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const Rule rule = ruleOf(args.text(0, "rule"));
  const UpdateGroup group = groupOf(env, args[1]);
  const double scale = args.number(2, "gradientScale");
  const UpdateFields fields(env, args[3]);
  const auto pool = poolOf(args.integer(4, "threads"));
  if (fields.device() == onHost) {
    parallelUpdate(*pool, rule, group, scale, fields.buffers());
  } else {
    const cuda::DevicePiece piece{fields.buffers(), 0};
    cuda::deviceUpdate(fields.device(), rule, {&group, 1}, scale, nullptr, {&piece, 1});
  }
  fields.markAll();
  return nullptr;
}

// (rule, groups, groupOf, gradientScale, tensors, threads)
napi_value optimizerUpdateMany(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const Rule rule = ruleOf(args.text(0, "rule"));
  std::vector<UpdateGroup> groups;
  const uint32_t groupCount = js::arrayLength(env, args[1], "groups");
  for (uint32_t i = 0; i < groupCount; ++i) groups.push_back(groupOf(env, js::element(env, args[1], i)));
  const std::vector<int64_t> groupIndices = args.integers(2, "groupOf");
  const double scale = args.number(3, "gradientScale");
  const uint32_t count = js::arrayLength(env, args[4], "tensors");
  const auto pool = poolOf(args.integer(5, "threads"));
  if (groupIndices.size() != count) {
    fail("E_ARGUMENT", "groupOf names " + std::to_string(groupIndices.size()) + " groups for " + std::to_string(count) +
                           " updates");
  }
  // Everything is checked before anything is written.
  std::vector<UpdateFields> all;
  all.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    all.emplace_back(env, js::element(env, args[4], i));
    if (groupIndices[i] < 0 || groupIndices[i] >= static_cast<int64_t>(groups.size())) {
      fail("E_ARGUMENT", "update " + std::to_string(i) + " belongs to group " + std::to_string(groupIndices[i]) + " of " +
                             std::to_string(groups.size()));
    }
    checkDevice(all[i].master.elements, all[0].device(), "an update's master");
    checkType(all[i].master, all[0].master.elements.type, "an update's master");
  }
  if (count > 0 && all[0].device() != onHost) {
    std::vector<cuda::DevicePiece> pieces;
    for (uint32_t i = 0; i < count; ++i) pieces.push_back({all[i].buffers(), static_cast<int>(groupIndices[i])});
    cuda::deviceUpdate(all[0].device(), rule, groups, scale, nullptr, pieces);
  } else {
    for (uint32_t i = 0; i < count; ++i) {
      parallelUpdate(*pool, rule, groups[static_cast<std::size_t>(groupIndices[i])], scale, all[i].buffers());
    }
  }
  for (const UpdateFields& fields : all) fields.markAll();
  return nullptr;
}

// A list of handles of tensors that are all on one device.
std::vector<Elements> readTensors(napi_env env, napi_value list) {
  const uint32_t count = js::arrayLength(env, list, "tensors");
  std::vector<Elements> tensors;
  for (uint32_t i = 0; i < count; ++i) {
    tensors.push_back(elementsOf(js::readNumber(env, js::element(env, list, i), "tensors"), "a tensor"));
    checkDevice(tensors[i], tensors[0].device, "a tensor");
  }
  return tensors;
}

std::vector<cuda::DeviceElements> onDevice(const std::vector<Elements>& tensors) {
  std::vector<cuda::DeviceElements> given;
  for (const Elements& x : tensors) given.push_back({x.data, x.type, x.count});
  return given;
}

std::vector<SquaredNorm> sumSquaresOfAll(const std::vector<Elements>& tensors, Pool& pool) {
  std::vector<SquaredNorm> norms;
  if (!tensors.empty() && tensors[0].device != onHost) {
    return cuda::deviceSumSquares(tensors[0].device, onDevice(tensors));
  }
  for (const Elements& x : tensors) norms.push_back(parallelSumSquares(pool, x.data, x.type, x.count));
  return norms;
}

// (tensor, threads)
napi_value sumSquaresOf(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const auto pool = poolOf(args.integer(1, "threads"));
  return normObject(env, sumSquaresOfAll({elementsOf(args.number(0, "tensor"), "tensor")}, *pool)[0]);
}

// (tensors, threads)
napi_value sumSquaresMany(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const auto pool = poolOf(args.integer(1, "threads"));
  const auto tensors = readTensors(env, args[0]);
  const auto norms = sumSquaresOfAll(tensors, *pool);
  const auto count = static_cast<uint32_t>(norms.size());
  napi_value made = js::array(env, count);
  for (uint32_t i = 0; i < count; ++i) js::setElement(env, made, i, normObject(env, norms[i]));
  return made;
}

// (tensors, threads)
napi_value sumSquaresStart(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const auto pool = poolOf(args.integer(1, "threads"));
  const auto tensors = readTensors(env, args[0]);
  const auto bytes = static_cast<int64_t>(tensors.size()) * 16;
  if (!tensors.empty() && tensors[0].device != onHost) {
    const auto options = at::TensorOptions().device(at::kCUDA, static_cast<c10::DeviceIndex>(tensors[0].device));
    const at::Tensor totals = at::empty({bytes}, options.dtype(at::kByte));
    cuda::deviceSumSquaresInto(tensors[0].device, onDevice(tensors), totals.data_ptr());
    return js::number(env, adopt(totals));
  }
  const auto norms = sumSquaresOfAll(tensors, *pool);
  const at::Tensor totals = at::empty({bytes}, at::kByte);
  auto* at = static_cast<char*>(totals.data_ptr());
  for (const SquaredNorm& norm : norms) {
    const auto nonFinite = static_cast<std::uint64_t>(norm.nonFinite);
    std::memcpy(at, &norm.sum, 8);
    std::memcpy(at + 8, &nonFinite, 8);
    at += 16;
  }
  return js::number(env, adopt(totals));
}

// (tensors, threads)
napi_value sumSquareBlocksStart(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const auto pool = poolOf(args.integer(1, "threads"));
  const auto tensors = readTensors(env, args[0]);
  std::size_t blocks = 0;
  for (const Elements& x : tensors) blocks += normBlocks(x.count);
  const int device = tensors.empty() ? onHost : tensors[0].device;
  auto options = at::TensorOptions().dtype(at::kByte);
  if (device != onHost) options = options.device(at::kCUDA, static_cast<c10::DeviceIndex>(device));
  const at::Tensor result = at::empty({static_cast<int64_t>(blocks * (sizeof(double) + sizeof(std::uint32_t)))}, options);
  auto* sums = static_cast<double*>(result.data_ptr());
  auto* invalid = reinterpret_cast<std::uint32_t*>(sums + blocks);
  if (device != onHost) {
    cuda::deviceBlockSumsInto(device, onDevice(tensors), sums, invalid);
    return js::number(env, adopt(result));
  }
  for (const Elements& x : tensors) {
    parallelBlockSums(*pool, x.data, x.type, x.count, sums, invalid);
    sums += normBlocks(x.count);
    invalid += normBlocks(x.count);
  }
  return js::number(env, adopt(result));
}

void checkSameCount(const Elements& to, const Elements& from) {
  if (to.count != from.count) {
    fail("E_ARGUMENT", "the target has " + std::to_string(to.count) + " elements, the source " +
                           std::to_string(from.count));
  }
}

// (into, from, scale, threads)
napi_value accumulateInto(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const Elements into = elementsOf(args.number(0, "into"), "into");
  const Elements from = elementsOf(args.number(1, "from"), "from");
  checkSameCount(into, from);
  checkDevice(from, into.device, "from");
  const double scale = args.number(2, "scale");
  const auto pool = poolOf(args.integer(3, "threads"));
  if (into.device == onHost) {
    parallelAccumulate(*pool, into.data, into.type, from.data, from.type, into.count, scale);
  } else {
    cuda::deviceAccumulate(into.device, into.data, into.type, from.data, from.type, into.count, scale);
  }
  markWritten(args.number(0, "into"));
  return nullptr;
}

// (to, from, threads)
napi_value castInto(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const Elements to = elementsOf(args.number(0, "to"), "to");
  const Elements from = elementsOf(args.number(1, "from"), "from");
  checkSameCount(to, from);
  checkDevice(from, to.device, "from");
  const auto pool = poolOf(args.integer(2, "threads"));
  if (to.device == onHost) {
    parallelCast(*pool, to.data, to.type, from.data, from.type, to.count);
  } else {
    cuda::deviceCast(to.device, to.data, to.type, from.data, from.type, to.count);
  }
  markWritten(args.number(0, "to"));
  return nullptr;
}

napi_value simdPath(napi_env env, napi_callback_info) { return js::text(env, pathName(automaticPath())); }

napi_value simdPaths(napi_env env, napi_callback_info) {
  napi_value made = js::array(env, 0);
  uint32_t length = 0;
  for (Path path : {Path::scalar, Path::avx2, Path::avx512, Path::neon}) {
    if (isAvailable(path)) js::setElement(env, made, length++, js::text(env, pathName(path)));
  }
  return made;
}

// The bytes of a Uint8Array as elements, for the tests that compare paths.
Elements bytesAsElements(napi_env env, napi_value array, double code, const char* name) {
  napi_typedarray_type kind = napi_int8_array;
  std::size_t length = 0;
  void* data = nullptr;
  bool typed = false;
  check(env, napi_is_typedarray(env, array, &typed));
  if (typed) check(env, napi_get_typedarray_info(env, array, &kind, &length, &data, nullptr, nullptr));
  if (!typed || kind != napi_uint8_array) fail("E_ARGUMENT", std::string(name) + " must be a Uint8Array");
  const DType type = dtypeOf(code, name);
  if (length % elementBytes(type) != 0 || reinterpret_cast<std::uintptr_t>(data) % elementBytes(type) != 0) {
    fail("E_ARGUMENT", std::string(name) + " is not a whole number of aligned elements");
  }
  return {data, type, length / elementBytes(type), onHost};
}

Elements bytesIn(napi_env env, napi_value object, const char* name, double code) {
  const napi_value value = property(env, object, name);
  if (js::isNullish(env, value)) return {};
  return bytesAsElements(env, value, code, name);
}

// (path, rule, group, gradientScale, { gradient, gradientDtype, stateDtype, master, m, v, masterOut, mOut, vOut,
//  parameterOut, parameterDtype })
napi_value optimizerUpdateBuffers(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const napi_value fields = args[4];
  const double gradientCode = numberIn(env, fields, "gradientDtype");
  const double stateCode = numberIn(env, fields, "stateDtype");
  const double parameterCode = numberIn(env, fields, "parameterDtype");
  const Elements gradient = bytesIn(env, fields, "gradient", gradientCode);
  const Elements parameter = bytesIn(env, fields, "parameterOut", parameterCode);
  Elements state[6];
  const char* const names[] = {"master", "m", "v", "masterOut", "mOut", "vOut"};
  for (int i = 0; i < 6; ++i) {
    state[i] = bytesIn(env, fields, names[i], stateCode);
    if (state[i].data != nullptr && state[i].count != gradient.count) {
      fail("E_ARGUMENT", std::string(names[i]) + " differs from the gradient in its count of elements");
    }
  }
  if (parameter.data != nullptr && parameter.count != gradient.count) {
    fail("E_ARGUMENT", "parameterOut differs from the gradient in its count of elements");
  }
  update(ruleOf(args.text(1, "rule")), groupOf(env, args[2]), args.number(3, "gradientScale"),
         {gradient.data, gradient.type, dtypeOf(stateCode, "state"), state[0].data, state[1].data, state[2].data,
          state[3].data, state[4].data, state[5].data, parameter.data, dtypeOf(parameterCode, "parameterOut"),
          gradient.count},
         pathOf(args.text(0, "path")));
  return nullptr;
}

// (path, bytes, dtype)
napi_value sumSquaresBytes(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const Elements x = bytesAsElements(env, args[1], args.number(2, "dtype"), "bytes");
  return normObject(env, sumSquares(x.data, x.type, x.count, pathOf(args.text(0, "path"))));
}

// (path, into, intoDtype, from, fromDtype, scale)
napi_value accumulateBytes(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const Elements into = bytesAsElements(env, args[1], args.number(2, "intoDtype"), "into");
  const Elements from = bytesAsElements(env, args[3], args.number(4, "fromDtype"), "from");
  checkSameCount(into, from);
  accumulate(into.data, into.type, from.data, from.type, into.count, args.number(5, "scale"),
             pathOf(args.text(0, "path")));
  return nullptr;
}

// (path, to, toDtype, from, fromDtype)
napi_value castBytes(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const Elements to = bytesAsElements(env, args[1], args.number(2, "toDtype"), "to");
  const Elements from = bytesAsElements(env, args[3], args.number(4, "fromDtype"), "from");
  checkSameCount(to, from);
  cast(to.data, to.type, from.data, from.type, to.count, pathOf(args.text(0, "path")));
  return nullptr;
}

// The kernels are free of Node and refuse with std::invalid_argument.
template <napi_callback Function>
napi_value refusing(napi_env env, napi_callback_info info) {
  try {
    return Function(env, info);
  } catch (const std::invalid_argument& error) {
    fail("E_ARGUMENT", error.what());
  }
}

template <napi_callback Function>
void expose(napi_env env, napi_value exports, const char* name) {
  js::expose<refusing<Function>>(env, exports, name);
}

}  // namespace

optim::UpdateGroup readUpdateGroup(napi_env env, napi_value group) { return groupOf(env, group); }
optim::Path readPath(const std::string& name) { return pathOf(name); }
std::shared_ptr<optim::Pool> sharedPool(int64_t threads) { return poolOf(threads); }

void registerOptimizer(napi_env env, napi_value exports) {
  expose<optimizerUpdate>(env, exports, "optimizerUpdate");
  expose<optimizerUpdateMany>(env, exports, "optimizerUpdateMany");
  expose<sumSquaresOf>(env, exports, "sumSquares");
  expose<sumSquaresMany>(env, exports, "sumSquaresMany");
  expose<sumSquaresStart>(env, exports, "sumSquaresStart");
  expose<sumSquareBlocksStart>(env, exports, "sumSquareBlocksStart");
  expose<accumulateInto>(env, exports, "accumulate");
  expose<castInto>(env, exports, "castInto");
  expose<simdPath>(env, exports, "simdPath");
  expose<simdPaths>(env, exports, "simdPaths");
  expose<optimizerUpdateBuffers>(env, exports, "optimizerUpdateBuffers");
  expose<sumSquaresBytes>(env, exports, "sumSquaresBytes");
  expose<accumulateBytes>(env, exports, "accumulateBytes");
  expose<castBytes>(env, exports, "castBytes");
}

}  // namespace tierra
