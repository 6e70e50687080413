#include "io/appendBinding.h"

#include "core/error.h"
#include "core/js.h"
#include "io/appendFile.h"

namespace tierra {
namespace {

io::AppendFileId idOf(const js::Args& args) { return static_cast<io::AppendFileId>(args.integer(0, "file")); }

napi_value appendOpen(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  return js::number(env, static_cast<double>(io::openAppendFile(args.text(0, "path"))));
}

napi_value appendBytes(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const auto bytes = args.bytes(1, "bytes");
  io::findAppendFile(idOf(args))->append(bytes.data(), bytes.size());
  return nullptr;
}

napi_value appendResult(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const auto result = io::findAppendFile(idOf(args))->result();
  if (!result) return js::null(env);
  napi_value made = js::object(env);
  js::set(env, made, "bytes", js::number(env, static_cast<double>(result->bytes)));
  js::set(env, made, "sha256", js::text(env, result->sha256));
  return made;
}

napi_value appendClose(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  io::closeAppendFile(idOf(args));
  return nullptr;
}

napi_value sha256(napi_env env, napi_callback_info info) {
  const js::Args args(env, info);
  const auto bytes = args.bytes(0, "bytes");
  const auto hash = args.flag(1, "plain") ? io::makePlainSha256() : io::makeSha256();
  hash->update(bytes.data(), bytes.size());
  return js::text(env, hash->finish());
}

}  // namespace

void registerAppendFiles(napi_env env, napi_value exports) {
  js::expose<appendOpen>(env, exports, "appendOpen");
  js::expose<appendBytes>(env, exports, "appendBytes");
  js::expose<appendResult>(env, exports, "appendResult");
  js::expose<appendClose>(env, exports, "appendClose");
  js::expose<sha256>(env, exports, "sha256");
}

}  // namespace tierra
