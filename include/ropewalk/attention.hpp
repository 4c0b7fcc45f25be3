#pragma once

#include <ropewalk/result.hpp>
#include <ropewalk/rotary.hpp>
#include <ropewalk/tensor.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>

namespace ropewalk {

/// Which keys a query sees. Query t of a sequence of Q queries and K keys stands at key p = t + K - Q: the last query
/// at the last key, behind K - Q tokens that were there before it. It sees the keys j of its own sequence with
///
///     p - left <= j <= p + right
///
/// A negative number leaves out its own key and those next to it: right = -5 sees the keys that lie 5 back and further.
struct AttentionMask {
  static constexpr std::int64_t kUnlimited = std::numeric_limits<std::int64_t>::max();
  std::int64_t left = kUnlimited;   ///< keys before its own; kUnlimited: all
  std::int64_t right = kUnlimited;  ///< keys behind its own; kUnlimited: all

  static constexpr AttentionMask everything() noexcept { return {}; }
  static constexpr AttentionMask causal() noexcept { return {kUnlimited, 0}; }
  /// Causal, the last `keys` keys, its own among them: what checkpoints call sliding_window.
  static constexpr AttentionMask sliding(std::int64_t keys) noexcept { return {keys - 1, 0}; }
  /// Causal, all but the last `keys` keys: what sliding(keys) leaves.
  static constexpr AttentionMask beyond(std::int64_t keys) noexcept { return {kUnlimited, -keys}; }
  bool operator==(const AttentionMask&) const = default;
};

/// What is added to the scores, asked for in blocks while they are formed; of an encoding of relative positions, say.
struct ScoreFill {
  void* state = nullptr;  ///< handed back to `fill`
  /// Writes out[i * stride + j] = what is added to the score of query first_query + i and key first_key + j of this
  /// head; i < queries, j < keys. Keys are counted from the first key of the sequence, and a query is counted as the
  /// key that it stands at (AttentionMask), so that query - key is the distance; it is negative for a query before all
  /// keys. An entry may be -infinity (not seen). Entries that the mask hides are asked for too, and not used. Must not
  /// throw; is called by all threads at once.
  void (*fill)(void* state, std::int64_t row, std::int64_t head, std::int64_t first_query, std::int64_t queries,
               std::int64_t first_key, std::int64_t keys, float* out, std::int64_t stride) = nullptr;
};

/// One attention:
///
///     score[t, j] = softmax_scale * temperature[t] * (q[t, h] . k[j, g]) + bias[h, t, j],   g = h / (heads / kv_heads)
///     out[t, h] = sum over the keys j that t sees of softmax(score[t])[j] v[j, g]
///
/// A query that sees nothing gets zeros.
struct Attention {
  HeadsView q{};    ///< [batch, tokens, heads, head_dim], read
  HeadsView k{};    ///< [batch, keys, kv_heads, head_dim], read; heads is a multiple of kv_heads
  HeadsView v{};    ///< [batch, keys, kv_heads, value_dim], read; of the dtype of k
  HeadsView out{};  ///< [batch, tokens, heads, value_dim], written whole, apart from what is read; any dtype
  /// > 0; 1 / sqrt(head_dim) in most models, times Frequencies::softmax_scale_multiplier where the encoding has one.
  double softmax_scale = 0.0;
  AttentionMask mask{};
  /// Packed sequences, batch 1: sequence s has the queries [query_starts[s], query_starts[s + 1]) and the keys
  /// [key_starts[s], key_starts[s + 1]) and sees nothing else. Both of the same size, from 0 to all tokens, never
  /// falling ("cu_seqlens"); both empty: every row of the batch is one sequence.
  std::span<const std::int64_t> query_starts{};
  std::span<const std::int64_t> key_starts{};
  const float* temperature = nullptr;         ///< [batch, tokens], > 0; null: 1
  std::int64_t temperature_batch_stride = 0;  ///< elements from a row to the next; 0: one for all rows
  ScoreFill bias{};                           ///< no `fill`: nothing is added
  /// [batch, heads, tokens], contiguous, written: ln of the sum of exp(score) over what each query sees, -infinity if
  /// that is nothing. Null: not wanted. Read by the backward pass.
  float* log_sum_exp = nullptr;
};

struct AttentionCall {
  /// As in RotaryCall: the bits do not depend on it.
  int threads = 1;
  const ThreadPool* pool = nullptr;  ///< OpenMP's threads if null
  /// attention_workspace() bytes or more, any alignment, unread before and of no meaning afterwards; one call at a
  /// time.
  std::span<std::byte> workspace{};
};

/// The widest head that is taken.
inline constexpr std::int64_t kMostAttentionHeadDim = 4096;

/// Bytes that a call on so many threads works in. Does not grow with tokens or keys. 0 if check has something to say
/// about anything but the workspace.
std::int64_t attention_workspace(const Attention& attention, int threads) noexcept;

/// What is wrong with a call, or nothing: shapes, dtypes, addresses, starts, temperatures, the scale, a workspace that
/// is too small. Overlapping memory is not found. Paths: "k.heads", "key_starts[3]", "workspace.size".
[[nodiscard]] std::optional<Error> check_attention(const Attention& attention, const AttentionCall& call);

/// Streams the keys in blocks with a running softmax: there is never a matrix of tokens by keys.
///
/// Scores and sums are float32. Keys and values in bf16 on a processor with such a product (avx512_bf16): q and the
/// powers of the softmax are rounded to bf16 before it; everywhere else all is widened to float32. Unlike a rotation's,
/// the bits depend on the CPU target; they do not on threads, on the batch, or on what is packed beside a sequence.
/// What a query does not see does not change a bit of its result, be it a NaN, save that a NaN or an infinity in a
/// value may reach other queries whose windows end within 64 queries of one that sees it.
///
/// With one query (or a few) the keys are shared out to the threads and read where they lie.
///
/// Requires check_attention() to have nothing to say. Never fails or throws; allocates nothing, save what OpenMP keeps
/// for its threads.
void attend(const Attention& attention, const AttentionCall& call) noexcept;

/// A block of the gradient of the scores, which is that of what `bias` added to them.
struct ScoreGradientBlock {
  std::int64_t row = 0, head = 0;
  std::int64_t sequence = 0;                                           ///< of the packed ones
  std::int64_t first_query = 0, queries = 0, first_key = 0, keys = 0;  ///< counted as ScoreFill counts them
  const float* d_score = nullptr;  ///< [queries, keys], `stride` from a row to the next; 0 where the mask hides
  std::int64_t stride = 0;
  std::int64_t part = 0;  ///< in [0, score_gradient_parts())
  int thread = 0;         ///< in [0, the call's threads)
};

/// Told every entry of d_score that a query sees, once.
struct ScoreGradient {
  void* state = nullptr;  ///< handed back to `add`
  /// Must not throw; is called by all threads at once; the block is gone when it returns. These blocks come one after
  /// the other, so that what is summed up for each of them needs no lock:
  ///
  ///     those that name a query of a head         in the order of their keys
  ///     those that name a key of a key head,
  ///     and those of a part                       from the last queries to the first; heads of a key head in turn
  ///     those of a thread                         in any order
  ///
  /// The first three orders, and so the bits of such sums, do not depend on threads.
  void (*add)(void* state, const ScoreGradientBlock& block) = nullptr;
};

/// How many parts blocks of d_score are told in: one for each 128 keys of a sequence, row and key head. 0 as
/// attention_workspace is.
std::int64_t score_gradient_parts(const Attention& attention) noexcept;

/// What goes back through an attention. With p = softmax(score):
///
///     d_v[j, g] = sum over h of g and t of p[h, t, j] d_out[t, h]
///     d_score[h, t, j] = p[h, t, j] (d_out[t, h] . v[j, g] - d_out[t, h] . out[t, h])
///     d_q[t, h] = softmax_scale * temperature[t] * sum over j of d_score[h, t, j] k[j, g]
///     d_k[j, g] = sum over h of g and t of softmax_scale * temperature[t] * d_score[h, t, j] q[t, h]
///     d_temperature[t] = softmax_scale * sum over h and j of d_score[h, t, j] (q[t, h] . k[j, g])
struct AttentionGradients {
  HeadsView d_out{};  ///< shape of out, read; any dtype
  // Written whole, apart from each other and from what is read; any dtype. Zeros for a query that sees nothing and for
  // a key that is not seen.
  HeadsView d_q{};                 ///< shape of q
  HeadsView d_k{};                 ///< shape of k
  HeadsView d_v{};                 ///< shape of v
  float* d_temperature = nullptr;  ///< [batch, tokens], contiguous, written; null: not wanted
  ScoreGradient d_score{};         ///< no `add`: not wanted
};

/// As attention_workspace. Grows with the tokens: about one copy of q in float32 is among it.
std::int64_t attention_backward_workspace(const Attention& attention, int threads) noexcept;

/// As check_attention, with the gradients ("d_k.tokens") and log_sum_exp, which must be there.
[[nodiscard]] std::optional<Error> check_attention_backward(const Attention& attention,
                                                            const AttentionGradients& gradients,
                                                            const AttentionCall& call);

/// The gradients of the attention whose results `out` and log_sum_exp hold; both are read here. Probabilities are
/// formed again from log_sum_exp in blocks: there is never a matrix of tokens by keys. `bias` is asked again and must
/// say the same.
///
/// Everything is float32 whatever the dtypes (a 16-bit `out` is wrong by its rounding). The bits do not depend on
/// threads, on the batch, or on what is packed beside a sequence; they do on the CPU target. A NaN or an infinity
/// reaches the gradients of what sees it or is seen by it, and may reach other queries of the same 64 and other keys of
/// the same 128.
///
/// The call's workspace is of attention_backward_workspace() bytes. Requires check_attention_backward() to have nothing
/// to say. Never fails or throws; allocates nothing, save what OpenMP keeps for its threads. Threads wait for each
/// other: a part of a pool that has begun must go on whether others have begun or not, as threads do.
void attend_backward(const Attention& attention, const AttentionGradients& gradients,
                     const AttentionCall& call) noexcept;

/// What the same queries got from keys that no other part has.
struct AttentionPart {
  HeadsView out{};                     ///< Attention::out, read; any dtype
  const float* log_sum_exp = nullptr;  ///< Attention::log_sum_exp
};

/// One softmax out of several whose keys were shared out, by windows, by chunks or by devices:
///
///     log_sum_exp = ln of the sum over parts of exp(log_sum_exp[part])
///     out = sum over parts of exp(log_sum_exp[part] - log_sum_exp) out[part]
///
/// A part in which a query saw nothing is not read for it, and a query that saw nothing in any gets zeros. Sums are
/// float32, in the order of the parts; the bits depend neither on the CPU target nor on threads.
struct AttentionMerge {
  std::span<const AttentionPart> parts{};  ///< any number, each as large as `out`
  HeadsView out{};                   ///< written whole; may be the very view of a part, apart from all else; any dtype
  float* log_sum_exp = nullptr;      ///< as in Attention, written; may be that of a part; null: not wanted
  int threads = 1;                   ///< as in RotaryCall: the bits do not depend on it
  const ThreadPool* pool = nullptr;  ///< OpenMP's threads if null
};

/// What is wrong with it, or nothing: shapes, dtypes, addresses. Overlapping memory is not found. Paths:
/// "parts[1].heads", "parts[0].log_sum_exp".
[[nodiscard]] std::optional<Error> check_attention_merge(const AttentionMerge& merge);

/// Requires check_attention_merge() to have nothing to say. Never fails or throws; allocates nothing.
void merge_attention(const AttentionMerge& merge) noexcept;

}  // namespace ropewalk
