// Gloo: collectives between CPUs over TCP.
#include "core/error.h"
#include "dist/backend.h"

#ifdef TIERRA_GLOO
#define USE_C10D_GLOO
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#endif

namespace tierra::dist {

#ifdef TIERRA_GLOO

namespace {

struct Gloo final : c10d::ProcessGroupGloo {
  using ProcessGroupGloo::ProcessGroupGloo;

  void close() {
    for (const auto& context : contexts_) context->closeConnections();
  }
};

bool isAddress(const std::string& text) { return text.find_first_of(".:") != std::string::npos; }

}  // namespace

bool hasGloo() { return true; }

MadeBackend makeGloo(const BackendOptions& options) {
  auto made = c10d::ProcessGroupGloo::Options::create(options.timeout);
  if (options.listenOn.empty()) {
    made->devices.push_back(c10d::ProcessGroupGloo::createDefaultDevice());
  } else if (isAddress(options.listenOn)) {
    made->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname(options.listenOn));
  } else {
    made->devices.push_back(c10d::ProcessGroupGloo::createDeviceForInterface(options.listenOn));
  }
  return {c10::make_intrusive<Gloo>(options.store, options.rank, options.size, std::move(made)),
          [](c10d::Backend& backend) { static_cast<Gloo&>(backend).close(); }};
}

#else

bool hasGloo() { return false; }

MadeBackend makeGloo(const BackendOptions&) {
  fail("E_UNSUPPORTED", "this build of the addon has no Gloo: its libtorch was made without it",
       "Use a libtorch with distributed support (the torch wheels have it) and run `npx tierra setup` again.");
}

#endif

}  // namespace tierra::dist
