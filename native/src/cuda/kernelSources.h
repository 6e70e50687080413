// The kernels of native/kernels, carried inside the addon as text.
#pragma once

#include <string>
#include <vector>

#include "cuda/nvrtc.h"

namespace tierra::cuda {

/// Every kernel file, with the files it may include.
const std::vector<Program>& kernelPrograms();

/// Throws E_INTERNAL when there is none of that name ("update.cu").
const Program& kernelProgram(const std::string& name);

/// Equal only for equal sources, includes and compiler options.
std::string sourceKey(const Program& program);

}  // namespace tierra::cuda
