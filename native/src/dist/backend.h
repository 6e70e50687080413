// What moves bytes between ranks: libtorch's process groups, behind the one interface they share.
#pragma once

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include <chrono>
#include <string>

namespace tierra::dist {

using Timeout = std::chrono::milliseconds;

struct BackendOptions {
  c10::intrusive_ptr<c10d::Store> store;
  int rank = 0;
  int size = 1;
  Timeout timeout{0};
  // An address or an interface's name to listen on; empty: what this host's name says.
  std::string listenOn;
};

// Ends what is under way, so that waiting threads come back with an error instead of at the time-out.
using Abort = void (*)(c10d::Backend&);

struct MadeBackend {
  c10::intrusive_ptr<c10d::Backend> backend;
  Abort abort = nullptr;
};

bool hasGloo();
bool hasNccl();
// Throw E_UNSUPPORTED where this build has none.
MadeBackend makeGloo(const BackendOptions& options);
MadeBackend makeNccl(const BackendOptions& options);

}  // namespace tierra::dist
