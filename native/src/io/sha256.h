// SHA-256 (FIPS 180-4) of bytes that come in pieces. Uses the OpenSSL that Node carries and exports, which knows the
// CPU's SHA instructions; where a Node without it is found, a plain implementation that gives the same numbers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace tierra::io {

class Sha256 {
 public:
  virtual ~Sha256() = default;
  virtual void update(const void* data, std::size_t bytes) = 0;
  /// Lower-case hexadecimal. Nothing may follow.
  virtual std::string finish() = 0;
};

std::unique_ptr<Sha256> makeSha256();
/// The reference that the fast one is tested against.
std::unique_ptr<Sha256> makePlainSha256();

}  // namespace tierra::io
