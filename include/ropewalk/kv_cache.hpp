#pragma once

#include <ropewalk/dtype.hpp>
#include <ropewalk/frequencies.hpp>
#include <ropewalk/positions.hpp>
#include <ropewalk/result.hpp>
#include <ropewalk/rotary.hpp>
#include <ropewalk/spec.hpp>
#include <ropewalk/tensor.hpp>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace ropewalk {

/// Keys or values kept for later, seen as rows [pages, page_tokens, heads] of head_dim channels, whatever order they
/// are stored in. A row is one head of one token; its channels lie side by side, every other axis has a stride of its
/// own. A token has a slot: page * page_tokens + its place in the page. A cache without pages is one page.
///
/// What a row x becomes, in exact terms, on every CPU target (fl is the rounding to float32, to nearest even):
///
///     kFloat32, kBFloat16, kFloat16    each element rounded once, to nearest even; a NaN stays a NaN
///     kInt8, kInt4      m = max |x|, scale = fl(m / most), code = the whole number nearest to x * fl(most / m), ties
///     to
///                       even; most is 127 or 7. It is read as fl(code * scale).
///     kFloat8E4M3       with scales the same with most = 448 and code = e4m3(fl(x * fl(most / m))); without them
///                       code = e4m3(x). e4m3 rounds to nearest even, takes what is beyond 448 (infinities too) to 448
///                       with its sign, and keeps a NaN one.
///
/// With scales a row whose m is below 2^-100 is stored as zeros with scale 0, and a row with an infinity or a NaN in it
/// as zeros with scale NaN: it comes back as NaN whole, so that what went wrong before it is not hidden.
struct CacheView {
  void* data = nullptr;  ///< the row of slot 0, head 0; owned by the caller
  CacheFormat format = CacheFormat::kFloat32;
  std::int64_t pages = 0;
  std::int64_t page_tokens = 0;  ///< slots in a page
  std::int64_t heads = 0;
  std::int64_t head_dim = 0;            ///< channels in a row, at most kMostCacheHeadDim
  std::int64_t page_stride = 0;         ///< bytes from a page to the next
  std::int64_t token_stride = 0;        ///< bytes from a slot to the next in its page
  std::int64_t head_stride = 0;         ///< bytes from a head to the next
  float* scales = nullptr;              ///< of slot 0, head 0; kInt8 and kInt4 need them, kFloat8E4M3 may have them
  std::int64_t scale_page_stride = 0;   ///< elements from a page's scales to the next
  std::int64_t scale_token_stride = 0;  ///< elements from a slot's to the next
  std::int64_t scale_head_stride = 0;   ///< elements from a head's to the next

  constexpr std::int64_t slots() const noexcept { return pages * page_tokens; }

  /// Contiguous [pages, page_tokens, heads, head_dim] with scales [pages, page_tokens, heads]: vLLM's blocks,
  /// FlashInfer's NHD. With one page [capacity, heads, head_dim].
  static constexpr CacheView paged_by_token(void* data, CacheFormat format, std::int64_t pages,
                                            std::int64_t page_tokens, std::int64_t heads, std::int64_t head_dim,
                                            float* scales = nullptr) noexcept {
    const std::int64_t row = row_bytes(format, head_dim);
    return {data,        format, pages,  page_tokens,         heads, head_dim, page_tokens * heads * row,
            heads * row, row,    scales, page_tokens * heads, heads, 1};
  }
  /// Contiguous [pages, heads, page_tokens, head_dim] with scales [pages, heads, page_tokens]: FlashInfer's HND.
  static constexpr CacheView paged_by_head(void* data, CacheFormat format, std::int64_t pages, std::int64_t page_tokens,
                                           std::int64_t heads, std::int64_t head_dim,
                                           float* scales = nullptr) noexcept {
    const std::int64_t row = row_bytes(format, head_dim);
    return {data,
            format,
            pages,
            page_tokens,
            heads,
            head_dim,
            page_tokens * heads * row,
            row,
            page_tokens * row,
            scales,
            page_tokens * heads,
            1,
            page_tokens};
  }
  /// Contiguous [capacity, heads, head_dim] with scales [capacity, heads].
  static constexpr CacheView by_token(void* data, CacheFormat format, std::int64_t capacity, std::int64_t heads,
                                      std::int64_t head_dim, float* scales = nullptr) noexcept {
    return paged_by_token(data, format, 1, capacity, heads, head_dim, scales);
  }
  /// Contiguous [heads, capacity, head_dim] with scales [heads, capacity].
  static constexpr CacheView by_head(void* data, CacheFormat format, std::int64_t capacity, std::int64_t heads,
                                     std::int64_t head_dim, float* scales = nullptr) noexcept {
    return paged_by_head(data, format, 1, capacity, heads, head_dim, scales);
  }
};

/// The widest row that the operations of this header take.
inline constexpr std::int64_t kMostCacheHeadDim = 4096;

/// The slots of tokens [first, first + tokens) of one sequence: token t lies in page block_table[t / page_tokens].
/// Errors (kInvalid): "page_tokens" below 1, "first" or "tokens" below 0, tokens beyond the table, a page below 0 or so
/// large that its slots leave int64 ("block_table[3]").
Result<std::vector<std::int64_t>> slots_of_pages(std::span<const std::int64_t> block_table, std::int64_t page_tokens,
                                                 std::int64_t first, std::int64_t tokens);

enum class NormPlace : std::uint8_t {
  kNone = 0,
  kBeforeRotation = 1,  ///< Qwen 3, Gemma 3
  kAfterRotation = 2,   ///< Llama 4 (without weight), HunYuan
};

/// RMS norm of every head by itself: y = x / sqrt(mean of x^2 + epsilon) * weight, over all head_dim channels, those
/// that do not turn included. In float32, each step rounded to nearest even in the order
///     fl(fl(x * factor) * weight),   factor = fl(1 / fl(sqrt(fl(mean + epsilon)))),   mean = fl(sum / head_dim).
/// The sum has the same bits on every target: the channels come in the order of the spec's turning ones (for kHalf the
/// first of the pairs, then the second), those before them, those after; each of these stretches is cut into groups of
/// 16 from its begin on. Lane l of group g adds fma(x, x, .) to partial sum [g mod 4][l] in that order; the four are
/// added as (0 + 2) + (1 + 3), and 16 lanes by adding the upper half to the lower until one is left.
struct HeadNorm {
  NormPlace place = NormPlace::kNone;
  float epsilon = 1e-6f;           ///< >= 0, finite
  const float* weight = nullptr;   ///< [head_dim], or [heads, head_dim] with a stride; null: 1
  std::int64_t weight_stride = 0;  ///< elements from a head's weights to the next; 0: one for all heads
  bool weight_plus_one = false;    ///< the factor is fl(1 + weight), as Gemma's
};

/// New tokens on their way into a cache. Keys are normed, turned and stored; values are stored; queries, if there are
/// any, are normed and turned on the way, for the cosines and sines are at hand.
struct CacheAppend {
  HeadsView keys{};         ///< [batch, tokens, heads, head_dim], read; heads may be 0
  CacheView key_cache{};    ///< written at `slots`
  HeadsView values{};       ///< of as many tokens, or no heads; heads and head_dim may differ from those of the keys
  CacheView value_cache{};  ///< unread if there are no values
  RotaryOperand queries{};  ///< of as many tokens, or no heads; in place or apart, as rotary.hpp says
  /// [batch * tokens], the tokens of row 0 first. Below 0: this token is not stored (padding; its query is turned all
  /// the same). The others must be apart from each other and below slots().
  std::span<const std::int64_t> slots{};
  HeadNorm query_norm{};
  HeadNorm key_norm{};
};

/// What is wrong with a call, or nothing: shapes, dtypes, formats, scales, slots outside of the cache, strides of 0 on
/// what is written, addresses. Paths: "keys.tokens", "key_cache.heads", "slots[3]", "positions.tokens". kUnsupported
/// for a spec that does more than turn pairs in place, alike in all heads (output_layout, pair_blocks, several tables
/// of given frequencies, second, xpos, fourier): path "spec.xpos" and the like. Whether two slots are the same, or
/// memory overlaps otherwise, is not found.
[[nodiscard]] std::optional<Error> check_append(const Rotary& rotary, const CacheAppend& append,
                                                const PositionsView& positions);

/// Norms, turns and stores in one pass: every element is read once and written once. The bits are those of the norm,
/// then Rotary::apply, then the rounding of the cache, all on float32 (in bf16 and f16, nothing is rounded between the
/// steps). Threads as RotaryCall says; call.direction says which way keys and queries turn.
/// Requires check_append() to have nothing to say. Never fails or throws; allocates nothing beyond its stack (80 KiB),
/// save what OpenMP keeps for its threads.
void append(const Rotary& rotary, const CacheAppend& append, const PositionsView& positions,
            const RotaryCall& call = {}) noexcept;

/// What is wrong with a call of shift, or nothing. Paths: "keys.head_dim", "slots[3]", "deltas.tokens".
[[nodiscard]] std::optional<Error> check_shift(const Rotary& rotary, const CacheView& keys,
                                               std::span<const std::int64_t> slots, const PositionsView& deltas);

/// Moves cached keys: the key in slots[t], which stands at p, stands at p + delta[t] afterwards. Turned in place by
/// R(delta) with gain 1 (the attention factor is in the key already). deltas is [axes, 1, slots]; a slot below 0, or
/// with deltas of 0 on every axis, is neither read nor written. For a row in kInt8, kInt4 or scaled kFloat8E4M3 it is
/// read, turned and rounded anew with a scale of its own, so that each shift rounds once more (docs/kv_cache.md has the
/// drift). Under Numerics::kFp32 it turns by the phase of fl(delta) * inv_freq, which is not the difference of two
/// rounded products. A slot may come once only.
/// Requires check_shift() to have nothing to say; otherwise as append.
void shift(const Rotary& rotary, const CacheView& keys, std::span<const std::int64_t> slots,
           const PositionsView& deltas, const RotaryCall& call = {}) noexcept;

/// Carries keys that were turned under one spec over to another: a key at position p turns by phase_to(p) -
/// phase_from(p) and grows by attention_factor_to / attention_factor_from. For dynamic NTK as the sequence grows,
/// LongRoPE as it crosses the trained length, or a scaling that is switched on over cached keys.
/// Immutable, as Rotary is.
class Rerotation {
 public:
  /// running lengths as in make_frequencies.
  /// Errors: those of Rotary::make, their paths behind "from." or "to."; kInvalid, by the field's name, where the two
  /// differ in head_dim, rotary_dim, rotary_offset, layout, axes ("to.axis_of_pair") or the axes of given frequencies;
  /// kInvalid if the factor under `from` is 0; kUnsupported as in check_append ("from.xpos").
  static Result<Rerotation> make(const RotarySpec& from, std::int64_t from_running_length, const RotarySpec& to,
                                 std::int64_t to_running_length);

  /// attention_factor_to / attention_factor_from: what keys grow by.
  double gain() const noexcept { return gain_; }

  /// Paths: "keys.head_dim", "slots[3]", "positions.tokens".
  [[nodiscard]] std::optional<Error> check(const CacheView& keys, std::span<const std::int64_t> slots,
                                           const PositionsView& positions) const;
  /// In place. positions is [axes, 1, slots]: where the keys in the slots stand. Slots below 0, and rows that would
  /// neither turn nor grow because they stand at 0, are neither read nor written. Otherwise as shift.
  void apply(const CacheView& keys, std::span<const std::int64_t> slots, const PositionsView& positions,
             const RotaryCall& call = {}) const noexcept;

  /// Paths: "keys.head_dim", "positions.tokens".
  [[nodiscard]] std::optional<Error> check(const HeadsView& keys, const PositionsView& positions) const;
  void apply(const HeadsView& keys, const PositionsView& positions, const RotaryCall& call = {}) const noexcept;

 private:
  Rerotation() = default;
  RotarySpec from_, to_;
  Frequencies from_frequencies_, to_frequencies_;
  Frequencies difference_;  // of turns per token, where both numerics are exact; else empty
  double gain_ = 1.0;
};

}  // namespace ropewalk
