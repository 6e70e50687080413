// The 64-bit checksum of swapped bytes: for accidents (bit rot, stale or misdirected blocks), not against an adversary.
//
// Payload is cut into pieces of 1 MiB that are hashed on their own, so that blocks may be hashed as they arrive, in any
// order; `combine` folds the pieces' hashes in order. Inside a piece, stripes of 64 bytes feed eight 64-bit lanes:
//
//   lane[i ^ 1] += word[i];  lane[i] += low32(word[i] ^ key) * high32(word[i] ^ key)
//
// with keys that shift by one word per stripe, and a scramble (xor-shift, xor key, multiply) after every 16 stripes. The
// products are 32 x 32 -> 64 bits, which SSE2, AVX2, AVX-512 and NEON all have; adding the word to the neighbour lane
// keeps every input bit even where a product loses it. The structure is that of XXH3's long hash (Collet 2019); the
// constants, piece rule and finish are our own, so values are not XXH3's.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tierra::io {

inline constexpr std::size_t checksumPieceBytes = 1 << 20;

/// Hash of one piece: at most `checksumPieceBytes` bytes at any alignment.
std::uint64_t hashPiece(const void* data, std::size_t bytes);

/// Whether plain code gives the same hash as what is used on this processor. For tests.
bool plainAgrees(const void* data, std::size_t bytes);

/// Folds `count` piece hashes and the payload's length into the extent's checksum.
std::uint64_t combine(const std::uint64_t* pieces, std::size_t count, std::uint64_t payloadBytes);

}  // namespace tierra::io
