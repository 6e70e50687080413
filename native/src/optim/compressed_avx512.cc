#include "compressedKernel.h"

namespace tierra::optim {
const CompressedKernel compressedAvx512 = compressedLoops;
}
