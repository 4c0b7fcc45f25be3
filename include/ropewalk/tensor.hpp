#pragma once

#include <ropewalk/dtype.hpp>

#include <cstdint>

namespace ropewalk {

/// Queries or keys somewhere in memory, seen as [batch, tokens, heads, head_dim] whatever order they are stored in.
/// The channels of a head lie side by side; every other axis has a stride of its own, which may be 0, negative or odd.
struct HeadsView {
  void* data = nullptr;           ///< element [0, 0, 0, 0]; owned by the caller
  DType dtype = DType::kFloat32;  ///< of every element
  std::int64_t batch = 1;         ///< rows; 1 for "thd"
  std::int64_t tokens = 0;        ///< tokens in a row; 0 is legal and does nothing
  std::int64_t heads = 0;
  std::int64_t head_dim = 0;      ///< channels in a head, those that do not turn included
  std::int64_t batch_stride = 0;  ///< elements from a row to the next
  std::int64_t token_stride = 0;  ///< elements from a token to the next
  std::int64_t head_stride = 0;   ///< elements from a head to the next

  /// Contiguous [batch, tokens, heads, head_dim].
  static constexpr HeadsView bshd(void* data, DType dtype, std::int64_t batch, std::int64_t tokens, std::int64_t heads,
                                  std::int64_t head_dim) noexcept {
    return {data, dtype, batch, tokens, heads, head_dim, tokens * heads * head_dim, heads * head_dim, head_dim};
  }
  /// Contiguous [batch, heads, tokens, head_dim].
  static constexpr HeadsView bhsd(void* data, DType dtype, std::int64_t batch, std::int64_t heads, std::int64_t tokens,
                                  std::int64_t head_dim) noexcept {
    return {data, dtype, batch, tokens, heads, head_dim, heads * tokens * head_dim, head_dim, tokens * head_dim};
  }
  /// Contiguous [tokens, batch, heads, head_dim].
  static constexpr HeadsView sbhd(void* data, DType dtype, std::int64_t tokens, std::int64_t batch, std::int64_t heads,
                                  std::int64_t head_dim) noexcept {
    return {data, dtype, batch, tokens, heads, head_dim, heads * head_dim, batch * heads * head_dim, head_dim};
  }
  /// Contiguous [tokens, heads, head_dim]: sequences packed one behind the other.
  static constexpr HeadsView thd(void* data, DType dtype, std::int64_t tokens, std::int64_t heads,
                                 std::int64_t head_dim) noexcept {
    return {data, dtype, 1, tokens, heads, head_dim, 0, heads * head_dim, head_dim};
  }
};

/// Embeddings somewhere in memory, seen as [batch, tokens, dim]. The channels of a token lie side by side; the other
/// axes have strides, which may be 0 (where it is only read), negative or odd.
struct EmbeddingsView {
  void* data = nullptr;           ///< element [0, 0, 0]; owned by the caller
  DType dtype = DType::kFloat32;  ///< of every element
  std::int64_t batch = 1;         ///< rows
  std::int64_t tokens = 0;        ///< tokens in a row; 0 is legal and does nothing
  std::int64_t dim = 0;           ///< channels of a token
  std::int64_t batch_stride = 0;  ///< elements from a row to the next
  std::int64_t token_stride = 0;  ///< elements from a token to the next

  /// Contiguous [batch, tokens, dim].
  static constexpr EmbeddingsView contiguous(void* data, DType dtype, std::int64_t batch, std::int64_t tokens,
                                             std::int64_t dim) noexcept {
    return {data, dtype, batch, tokens, dim, tokens * dim, dim};
  }
};

}  // namespace ropewalk
