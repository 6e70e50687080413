// A failure as a plain value: lanes store it and hand it on; it becomes a TierraError only on the JavaScript thread.
#pragma once

#include <string>

#include "core/error.h"

namespace tierra {

using Failure = NativeError;

/// "EIO (Input/output error)"
std::string errnoText(int error);

/// "1.50 GiB", "4 KiB", "17 bytes"
std::string bytesText(double bytes);

}  // namespace tierra
