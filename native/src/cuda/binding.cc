#include "cuda/binding.h"

#include "core/js.h"
#include "cuda/kernelSources.h"
#include "cuda/nvrtc.h"

namespace tierra {

namespace {

napi_value kernelNames(napi_env env, napi_callback_info) {
  napi_value made = js::array(env, 0);
  uint32_t length = 0;
  for (const auto& program : cuda::kernelPrograms()) js::setElement(env, made, length++, js::text(env, program.name));
  return made;
}

// (arch)
napi_value compileKernels(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const std::string architecture = args.text(0, "arch");
  const cuda::Nvrtc& compiler = cuda::Nvrtc::get();
  napi_value made = js::array(env, 0);
  uint32_t length = 0;
  for (const auto& program : cuda::kernelPrograms()) {
    const auto code = compiler.compile(program, architecture);
    napi_value entry = js::object(env);
    js::set(env, entry, "name", js::text(env, program.name));
    js::set(env, entry, "bytes", js::number(env, static_cast<double>(code.size())));
    js::setElement(env, made, length++, entry);
  }
  return made;
}

}  // namespace

void registerKernels(napi_env env, napi_value exports) {
  js::expose<kernelNames>(env, exports, "kernelNames");
  js::expose<compileKernels>(env, exports, "compileKernels");
}

}  // namespace tierra
