#include "cli/sha256.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <new>
#include <vector>

#include "cli/refusal.hpp"

namespace ropewalk::cli {
namespace {

EVP_MD_CTX* context_of(const std::shared_ptr<void>& context) { return static_cast<EVP_MD_CTX*>(context.get()); }

// The calls below fail for want of memory only.
void want_done(int done) {
  if (done != 1) throw std::bad_alloc();
}

}  // namespace

Sha256::Sha256()
    : context_(EVP_MD_CTX_new(), [](void* context) { EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context)); }) {
  want_done(context_ != nullptr && EVP_DigestInit_ex(context_of(context_), EVP_sha256(), nullptr) == 1);
}

void Sha256::add(std::string_view bytes) {
  want_done(EVP_DigestUpdate(context_of(context_), bytes.data(), bytes.size()));
}

std::string Sha256::hex() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  want_done(EVP_DigestFinal_ex(context_of(context_), digest.data(), &size));
  std::string out;
  for (unsigned int i = 0; i < size; ++i) out += fmt::format("{:02x}", digest[i]);
  return out;
}

std::string sha256_of(std::string_view bytes) {
  Sha256 hash;
  hash.add(bytes);
  return hash.hex();
}

std::string sha256_of_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) refuse(path, std::string("want a readable file, got: ") + std::strerror(errno), Code::kUnavailable);
  Sha256 hash;
  std::vector<char> stretch(1 << 20);
  while (file.read(stretch.data(), static_cast<std::streamsize>(stretch.size())), file.gcount() > 0)
    hash.add({stretch.data(), static_cast<std::size_t>(file.gcount())});
  if (file.bad()) refuse(path, "want a readable file, got an error while reading it", Code::kUnavailable);
  return hash.hex();
}

}  // namespace ropewalk::cli
