// Hashes pieces of every length up to a few stripes and some long ones, at odd alignments, in plain code and in what is used
// on this processor. The value at the end pins the function itself.
#include "io/checksum.h"

#include <cstdio>
#include <vector>

int main() {
  std::vector<unsigned char> bytes((1 << 20) + 64);
  std::uint32_t state = 1;
  for (auto& byte : bytes) byte = static_cast<unsigned char>((state = state * 1664525u + 1013904223u) >> 24);
  int compared = 0;
  int different = 0;
  const auto compare = [&](std::size_t at, std::size_t length) {
    ++compared;
    different += !tierra::io::plainAgrees(bytes.data() + at, length);
  };
  for (std::size_t length = 0; length <= 2100; ++length) compare(length % 37, length);
  for (std::size_t length = (1 << 20) - 70; length <= 1 << 20; ++length) compare(length % 61, length);
  std::printf("compared %d, different %d, %016llx\n", compared, different,
              static_cast<unsigned long long>(tierra::io::hashPiece(bytes.data() + 3, 100'000)));
}
