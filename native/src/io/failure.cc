#include "failure.h"

#include <cstdio>
#include <cstring>

namespace tierra {

std::string errnoText(int error) {
  const char* name = strerrorname_np(error);
  const char* words = strerrordesc_np(error);
  return std::string(name ? name : "errno " + std::to_string(error)) + (words ? std::string(" (") + words + ")" : "");
}

std::string bytesText(double bytes) {
  static const char* const units[] = {"KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return std::to_string(static_cast<long long>(bytes)) + " bytes";
  int unit = -1;
  while (bytes >= 1024 && unit < 3) {
    bytes /= 1024;
    ++unit;
  }
  char text[32];
  const bool whole = bytes == static_cast<double>(static_cast<long long>(bytes));
  std::snprintf(text, sizeof text, whole ? "%.0f %s" : "%.2f %s", bytes, units[unit]);
  return text;
}

}  // namespace tierra
