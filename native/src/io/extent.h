// How a payload lies on disk: its bytes, rounded up to 4 KiB, then one 4 KiB trailer that says what they are.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tierra::io {

inline constexpr std::size_t sectorBytes = 4096;

struct Trailer {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t flags;         // 1: `checksum` holds the payload's checksum
  std::uint64_t run;           // hash of the run id: another run's bytes are not ours
  std::uint64_t offset;        // where the extent was meant to lie: catches misdirected writes
  std::uint64_t chunk;
  std::uint64_t step;
  std::uint64_t payloadBytes;
  std::uint64_t checksum;
  std::uint64_t own;           // hash of all fields above
};

inline constexpr std::uint64_t trailerMagic = 0x3152545854524954;  // "TIRTXTR1"
inline constexpr std::uint32_t trailerVersion = 1;
inline constexpr std::uint32_t trailerChecksummed = 1;

constexpr std::uint64_t roundUpToSector(std::uint64_t bytes) { return (bytes + sectorBytes - 1) / sectorBytes * sectorBytes; }

/// Bytes that an extent of `payloadBytes` takes on disk.
constexpr std::uint64_t extentBytes(std::uint64_t payloadBytes) { return roundUpToSector(payloadBytes) + sectorBytes; }

}  // namespace tierra::io
