#include "compressedKernel.h"

namespace tierra::optim {
const CompressedKernel compressedAvx2 = compressedLoops;
}
