// The few functions of the CUDA driver that launching takes, opened at run time. For builds with CUDA.
#pragma once

#include <string>
#include <vector>

namespace tierra::cuda::driver {

using Function = void*;

/// Loads machine code into the calling thread's current context and finds `entry` in it. The module stays for good.
/// `name` is for messages.
void* loadModule(const std::vector<char>& code, const std::string& name);
Function findFunction(void* module, const std::string& entry);

/// `arguments` holds one pointer per kernel parameter. `stream` is a cudaStream_t.
void launch(Function function, const std::string& name, unsigned blocks, unsigned threads, unsigned sharedBytes,
            void* stream, void** arguments);

}  // namespace tierra::cuda::driver
