// A cache in guarded memory, and its rows as their definition reads.
#pragma once

#include "kernels/support.hpp"

#include <cstring>

namespace support {

using ropewalk::CacheFormat;
using ropewalk::CacheView;

/// A format, with or without scales.
struct Format {
  CacheFormat format;
  bool scaled;
  std::string name() const { return std::string(name_of(format)) + (scaled ? ", scaled" : ""); }
};
constexpr Format kFormats[] = {{CacheFormat::kFloat32, false},   {CacheFormat::kBFloat16, false},
                               {CacheFormat::kFloat16, false},   {CacheFormat::kFloat8E4M3, false},
                               {CacheFormat::kFloat8E4M3, true}, {CacheFormat::kInt8, true},
                               {CacheFormat::kInt4, true}};

struct CacheShape {
  std::int64_t pages = 1, page_tokens = 1, heads = 1, head_dim = 0;
  bool by_head = false;
  std::int64_t gap = 0;  ///< elements more behind each row (bytes if they are smaller), twice as many behind the rest
  std::int64_t slots() const { return pages * page_tokens; }
};

/// Every byte begins as a pattern, so that what is written can be told from what is not.
class Cache {
 public:
  Cache(const CacheShape& shape, Format format, Pages::Edge edge = Pages::Edge::kEnd);
  const CacheView& view() const noexcept { return view_; }
  std::byte* row(std::int64_t slot, std::int64_t head) const;
  float* scale(std::int64_t slot, std::int64_t head) const;
  /// Stores a row as the definition reads.
  void store(std::int64_t slot, std::int64_t head, const std::vector<float>& row);
  std::vector<float> load(std::int64_t slot, std::int64_t head) const;
  /// All of the memory, scales and what lies between rows included.
  bool same_bytes(const Cache& other) const;
  void copy_from(const Cache& other);

 private:
  Format format_;
  CacheShape shape_;
  CacheView view_;
  Pages rows_, scales_;
};

/// The norm in the order that HeadNorm states.
std::vector<float> plainly_normed(const ropewalk::RotarySpec& spec, const ropewalk::HeadNorm& norm, std::int64_t head,
                                  std::vector<float> row);

}  // namespace support
