// Stores: where ranks meet and leave each other small values. Served by one process over TCP.
#pragma once

#include <node_api.h>
#include <torch/csrc/distributed/c10d/Store.hpp>

namespace tierra::dist {

c10::intrusive_ptr<c10d::Store> findStore(double id);
void closeAllStores();
void registerStores(napi_env env, napi_value exports);

}  // namespace tierra::dist
