#include "io/sha256.h"

#include <dlfcn.h>

#include <algorithm>
#include <bit>
#include <cstring>

namespace tierra::io {
namespace {

std::string hex(const unsigned char* bytes, std::size_t count) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < count; ++i) {
    text += digits[bytes[i] >> 4];
    text += digits[bytes[i] & 15];
  }
  return text;
}

/// The few functions of OpenSSL (1.1.0 and later) that are needed, found in the running process.
struct OpenSsl {
  void* (*newContext)();
  void (*freeContext)(void*);
  const void* (*sha256)();
  int (*init)(void*, const void*, void*);
  int (*update)(void*, const void*, std::size_t);
  int (*finish)(void*, unsigned char*, unsigned int*);

  static const OpenSsl* find() {
    static const OpenSsl* const found = [] {
      const auto at = [](const char* name) { return dlsym(RTLD_DEFAULT, name); };
      const auto made = new OpenSsl{
          reinterpret_cast<decltype(newContext)>(at("EVP_MD_CTX_new")),
          reinterpret_cast<decltype(freeContext)>(at("EVP_MD_CTX_free")),
          reinterpret_cast<decltype(sha256)>(at("EVP_sha256")),
          reinterpret_cast<decltype(init)>(at("EVP_DigestInit_ex")),
          reinterpret_cast<decltype(update)>(at("EVP_DigestUpdate")),
          reinterpret_cast<decltype(finish)>(at("EVP_DigestFinal_ex")),
      };
      const bool whole =
          made->newContext && made->freeContext && made->sha256 && made->init && made->update && made->finish;
      return whole ? made : nullptr;
    }();
    return found;
  }
};

class FastSha256 final : public Sha256 {
 public:
  explicit FastSha256(const OpenSsl& ssl) : ssl_(ssl), context_(ssl.newContext()) {
    good_ = context_ && ssl_.init(context_, ssl_.sha256(), nullptr) == 1;
  }
  ~FastSha256() override { ssl_.freeContext(context_); }
  bool good() const { return good_; }
  void update(const void* data, std::size_t bytes) override { ssl_.update(context_, data, bytes); }
  std::string finish() override {
    unsigned char digest[64];
    unsigned int bytes = 0;
    ssl_.finish(context_, digest, &bytes);
    return hex(digest, bytes);
  }

 private:
  const OpenSsl& ssl_;
  void* context_;
  bool good_;
};

constexpr std::array<std::uint32_t, 64> roundKeys = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

class PlainSha256 final : public Sha256 {
 public:
  void update(const void* data, std::size_t bytes) override {
    const auto* from = static_cast<const unsigned char*>(data);
    total_ += bytes;
    while (bytes > 0) {
      const std::size_t taken = std::min(bytes, block_.size() - filled_);
      std::memcpy(block_.data() + filled_, from, taken);
      filled_ += taken;
      from += taken;
      bytes -= taken;
      if (filled_ == block_.size()) {
        compress();
        filled_ = 0;
      }
    }
  }

  std::string finish() override {
    const std::uint64_t bits = total_ * 8;
    const unsigned char one = 0x80;
    const unsigned char zero = 0;
    update(&one, 1);
    while (filled_ != 56) update(&zero, 1);
    unsigned char length[8];
    for (int i = 0; i < 8; ++i) length[i] = static_cast<unsigned char>(bits >> (56 - 8 * i));
    update(length, 8);
    unsigned char digest[32];
    for (std::size_t i = 0; i < 32; ++i) digest[i] = static_cast<unsigned char>(state_[i / 4] >> (24 - 8 * (i % 4)));
    return hex(digest, 32);
  }

 private:
  void compress() {
    std::array<std::uint32_t, 64> w;
    for (std::size_t i = 0; i < 16; ++i) {
      w[i] = static_cast<std::uint32_t>(block_[4 * i]) << 24 | static_cast<std::uint32_t>(block_[4 * i + 1]) << 16 |
             static_cast<std::uint32_t>(block_[4 * i + 2]) << 8 | block_[4 * i + 3];
    }
    for (std::size_t i = 16; i < 64; ++i) {
      const std::uint32_t a = w[i - 15];
      const std::uint32_t b = w[i - 2];
      w[i] = w[i - 16] + (std::rotr(a, 7) ^ std::rotr(a, 18) ^ (a >> 3)) + w[i - 7] +
             (std::rotr(b, 17) ^ std::rotr(b, 19) ^ (b >> 10));
    }
    auto [a, b, c, d, e, f, g, h] = state_;
    for (std::size_t i = 0; i < 64; ++i) {
      const std::uint32_t first =
          h + (std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25)) + ((e & f) ^ (~e & g)) + roundKeys[i] + w[i];
      const std::uint32_t second =
          (std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      h = g;
      g = f;
      f = e;
      e = d + first;
      d = c;
      c = b;
      b = a;
      a = first + second;
    }
    const std::array<std::uint32_t, 8> made = {a, b, c, d, e, f, g, h};
    for (std::size_t i = 0; i < 8; ++i) state_[i] += made[i];
  }

  std::array<std::uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<unsigned char, 64> block_{};
  std::size_t filled_ = 0;
  std::uint64_t total_ = 0;
};

}  // namespace

std::unique_ptr<Sha256> makePlainSha256() { return std::make_unique<PlainSha256>(); }

std::unique_ptr<Sha256> makeSha256() {
  if (const OpenSsl* ssl = OpenSsl::find()) {
    auto fast = std::make_unique<FastSha256>(*ssl);
    if (fast->good()) return fast;
  }
  return makePlainSha256();
}

}  // namespace tierra::io
