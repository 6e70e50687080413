// A thread that says what a run waits for when nothing has happened for a while. It needs neither the JavaScript thread
// nor the GPU, so it speaks also when those are what is stuck.
#pragma once

#include <node_api.h>

namespace tierra {

void registerWatchdog(napi_env env, napi_value exports);

/// Before the tables that it reads are taken down.
void stopWatchdog();

}  // namespace tierra
