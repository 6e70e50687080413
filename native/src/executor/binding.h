// What JavaScript sees of executors: src/native/binding.ts, ExecutorBinding.
#pragma once

#include <node_api.h>

#include <memory>

#include "executor/ticket.h"

namespace tierra {

void registerExecutors(napi_env env, napi_value exports);

namespace executor {

/// One ticket as JavaScript wrote it, every place checked against its arena or swap. Throws NativeError.
std::unique_ptr<Ticket> readTicket(napi_env env, napi_value value);

}  // namespace executor

}  // namespace tierra
