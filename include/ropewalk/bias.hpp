#pragma once

#include <ropewalk/result.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <variant>
#include <vector>

namespace ropewalk {

// What is added to the scores before the softmax, by position alone: bias[h, i, j] for head h, query position i, key
// position j, n = i - j. None of them is multiplied by 1 / sqrt(head_dim). No mask is in any of them: where an option
// says causal, a key behind its query (n < 0) gets the bias of n = 0, and whoever attends masks it.

/// T5 (arXiv 1910.10683): a learned number for each bucket of distances, near ones alone in theirs, far ones in buckets
/// that widen like a logarithm, all from max_distance on in the last. Also mT5, UL2, LongT5, MPNet, BEATs.
struct T5Bias {
  int heads = 0;
  bool causal = false;              ///< decoders; false splits the buckets between keys before and behind the query
  int num_buckets = 32;             ///< `relative_attention_num_buckets`: 2 to 4096 (causal), 4 to 4096
  std::int64_t max_distance = 128;  ///< `relative_attention_max_distance`: above half of a side's buckets, up to 2^31
  std::vector<float> table{};       ///< [num_buckets, heads], as `relative_attention_bias.weight`
  bool operator==(const T5Bias&) const = default;
};

/// Distances at which T5's buckets of one side begin: bucket b holds [starts[b], starts[b + 1]), the last one all from
/// starts[b] on. A side has num_buckets (causal) or num_buckets / 2. Exact: the smallest whole distance whose logarithm
/// reaches the bucket, where a floating one may fall on either side.
///
/// Errors: kInvalid for num_buckets and max_distance beyond what T5Bias says.
Result<std::vector<std::int64_t>> t5_bucket_starts(int num_buckets, std::int64_t max_distance, bool causal);

/// ALiBi (arXiv 2108.12409): -slope_h * n. BLOOM, Falcon-RW, MPT, Baichuan-13B, Jina v2, MosaicBERT, DNABERT-2. (BLOOM
/// and MPT add slope * j instead, the same but for a number a row, which the softmax does not see.)
struct AlibiBias {
  int heads = 0;
  bool symmetric = false;        ///< -slope_h * |n|: encoders (Jina v2, MosaicBERT); false: causal
  double bias_max = 8.0;         ///< MPT's `alibi_bias_max`: the last slope of 2^k heads is 2^-bias_max
  std::vector<double> slopes{};  ///< [heads], instead of the formula: trained ones, 0 for heads that see no distance
  bool operator==(const AlibiBias&) const = default;
};

/// [heads] slopes. With P the largest power of two in `heads`: 2^(-bias_max k / P), k = 1 ... P, then those of odd
/// k in 2^(-bias_max k / 2P), as many as are missing. Correctly rounded.
/// Errors: kInvalid for heads outside [1, 65536] or a bias_max outside [0, 1000].
Result<std::vector<double>> alibi_slopes(int heads, double bias_max = 8.0);

enum class KerpleKind : std::uint8_t {
  kLog = 0,    ///< -r1 ln(1 + r2 n)
  kPower = 1,  ///< -r1 n^r2; 0 at n = 0
};

/// KERPLE (arXiv 2205.09921): kernels of the distance with two learned numbers a head.
struct KerpleBias {
  int heads = 0;
  KerpleKind kind = KerpleKind::kLog;
  bool symmetric = false;   ///< |n| instead of max(n, 0)
  std::vector<float> r1{};  ///< [heads], `bias_p` in the authors' code
  std::vector<float> r2{};  ///< [heads], `bias_a`
  float smallest = 0.01f;   ///< r1 and r2 are raised to this, as the authors' code does; r2 of kPower is also cut at 2
  bool operator==(const KerpleBias&) const = default;
};

/// FIRE (arXiv 2310.04418): a small network of the distance over the query's own position,
///
///     bias[h, i, j] = f_h(psi(n) / (psi(max(i - first_position, L)) + epsilon)),   psi(x) = ln(|c| x + 1)
///     L = |threshold_multiplier * threshold|,   f = w2 relu(w1 x + b1) + b2
///
/// Causal. Depends on the distance alone for queries up to first_position + L, on the query too behind them.
struct FireBias {
  int heads = 0;
  int width = 32;                     ///< of the hidden layer, 1 to 65536
  float c = 0.1f;                     ///< learned, 0.1 at first
  float threshold_multiplier = 1.0f;  ///< learned, 1 at first: `L_multiplier`
  double threshold = 512.0;           ///< `init_L`, > 0; DAPE's training code halves it
  std::int64_t first_position = 0;    ///< where rows begin: DAPE's code divides by the largest distance in a row
  double epsilon = 1e-6;              ///< (0, 1]
  std::vector<float> w1{}, b1{};      ///< [width] each: Linear(1, width)
  std::vector<float> w2{};            ///< [heads, width]: Linear(width, heads)
  std::vector<float> b2{};            ///< [heads]
  bool operator==(const FireBias&) const = default;
};

/// Sandwich (arXiv 2212.10356): the product of two sinusoidal embeddings, which is a sum of cosines of the distance,
/// over a ratio of the head's own, h = 0 ... heads - 1:
///
///     bias[h, i, j] = (sum over k of cos(n theta^(-2 k / dim)) - subtrahend) / (8 (h + 1) / heads)
///
/// k counts dim / 2 terms from first_term: from 0 as sinusoids do, or from 1 as the sum is printed.
struct SandwichBias {
  int heads = 0;
  int dim = 128;  ///< even, 2 to 65536; the paper's d-bar, no head_dim
  double theta = 10000.0;
  int first_term = 0;       ///< 0 or 1
  double subtrahend = 0.0;  ///< dim / 2 makes the bias 0 at n = 0; the softmax does not see it
  bool operator==(const SandwichBias&) const = default;
};

/// Swin (arXiv 2103.14030): a learned number for each displacement in a window of rows x columns tokens. A position is
/// a token's number in the window, row * columns + column.
///
///     bias[h, i, j] = table[(row_i - row_j + rows - 1) * (2 columns - 1) + column_i - column_j + columns - 1, h]
struct WindowBias {
  int heads = 0;
  int rows = 0, columns = 0;  ///< 1 to 1024 each
  /// BEiT: token 0 is a class token and the window's tokens follow from 1. Three more rows end the table: from the
  /// class token to a token, from a token to it, from it to itself.
  bool class_token = false;
  std::vector<float> table{};  ///< [(2 rows - 1) (2 columns - 1), heads], with class_token 3 rows more
  bool operator==(const WindowBias&) const = default;
};

/// Swin v2 (arXiv 2111.09883): a small network of the displacement's logarithm, so that a window may grow.
///
///     bias[h, i, j] = 16 sigmoid(w2 relu(w1 (y, x) + b1))
///     y = g(8 (row_i - row_j) / (pretrained_rows - 1)),   x likewise,   g(u) = sign(u) log2(|u| + 1) / 3
struct LogCpbBias {
  int heads = 0;
  int rows = 0, columns = 0;  ///< of the window, 1 to 1024 each
  /// Of the window that was trained, at least 2 each, both or none; 0: the window's own (an axis of 1 stays at 0).
  int pretrained_rows = 0, pretrained_columns = 0;
  int width = 512;          ///< of the hidden layer, 1 to 65536
  std::vector<float> w1{};  ///< [width, 2]: `cpb_mlp.0.weight`, the row's displacement first
  std::vector<float> b1{};  ///< [width]
  std::vector<float> w2{};  ///< [heads, width]: `cpb_mlp.2.weight`
  bool operator==(const LogCpbBias&) const = default;
};

using BiasSpec = std::variant<AlibiBias, T5Bias, KerpleBias, FireBias, SandwichBias, WindowBias, LogCpbBias>;

/// "alibi", "t5", "kerple", "fire", "sandwich", "window", "log_cpb"
std::string_view name_of(const BiasSpec& spec) noexcept;

/// Positions of queries or keys: a run of them, or any.
struct BiasAxis {
  const std::int64_t* data = nullptr;  ///< owned by the caller; null: first, first + 1, ...
  std::int64_t first = 0;
  std::int64_t count = 0;

  static constexpr BiasAxis range(std::int64_t first, std::int64_t count) noexcept { return {nullptr, first, count}; }
  static BiasAxis of(std::span<const std::int64_t> positions) noexcept {
    return {positions.data(), 0, static_cast<std::int64_t>(positions.size())};
  }
  constexpr std::int64_t at(std::int64_t i) const noexcept { return data != nullptr ? data[i] : first + i; }
};

/// A block of biases in memory, [heads, queries, keys]; strides in floats, any.
template <class Float>
struct BasicBiasView {
  Float* data = nullptr;  ///< element [0, 0, 0]; owned by the caller
  std::int64_t head_stride = 0;
  std::int64_t query_stride = 0;
  std::int64_t key_stride = 1;

  static constexpr BasicBiasView contiguous(Float* data, std::int64_t queries, std::int64_t keys) noexcept {
    return {data, queries * keys, keys, 1};
  }
  constexpr Float& at(std::int64_t head, std::int64_t query, std::int64_t key) const noexcept {
    return data[head * head_stride + query * query_stride + key * key_stride];
  }
};
using BiasView = BasicBiasView<float>;
using ConstBiasView = BasicBiasView<const float>;

/// One of a bias' learned arrays in the flat order that parameters() and add_gradient() use.
struct BiasParameter {
  std::string_view name;  ///< that of the field: "table", "w1", ...
  std::size_t offset = 0;
  std::size_t size = 0;
};

/// The prepared bias: made once from its options, then asked for any block. Immutable; copies share what is prepared;
/// any number of threads may use it at once. Nothing in it grows with the length of a sequence.
///
/// Every entry is computed in double and rounded to float once, from the distance as an int64 (one that leaves int64 is
/// taken as its end), with elementary functions of the library's own: same bits on every machine.
class ScoreBias {
 public:
  /// Errors: kInvalid with the path of the field ("t5.table.size") for what its struct excludes, arrays of another size
  /// than it says, numbers that are not finite.
  static Result<ScoreBias> make(const BiasSpec& spec);

  const BiasSpec& spec() const noexcept;
  int heads() const noexcept;

  /// True if entries of queries up to last_query depend on the distance alone, so that toeplitz() says all: every kind
  /// but the windows; FIRE only for last_query up to its threshold.
  bool depends_on_distance_only(std::int64_t last_query = std::numeric_limits<std::int64_t>::max()) const noexcept;

  /// Writes out[h, d] = the bias at distance n = first_distance + d: a vector a head instead of a square.
  ///
  /// out  caller-owned, contiguous [heads, distances]
  /// Errors: kUnsupported (path "spec") for a window; kInvalid for a size that heads do not divide ("out.size").
  /// For FIRE it holds for the queries that depends_on_distance_only() names.
  std::optional<Error> toeplitz(std::int64_t first_distance, std::span<float> out) const;

  /// What is wrong with a block, or nothing: counts below 0 or above 2^40, an address that is null, runs that leave
  /// int64, an axis that is written with a stride of 0, and for windows every position, which must be a token's number.
  [[nodiscard]] std::optional<Error> check(const BiasAxis& queries, const BiasAxis& keys, const BiasView& out) const;

  /// out[h, i, j] = the bias of head h at queries.at(i) and keys.at(j). For runs of positions and where the distance
  /// says all, each distance is computed once. Works on the caller's thread alone. Requires check() to have nothing to
  /// say. Never fails; allocates nothing.
  void fill(const BiasAxis& queries, const BiasAxis& keys, const BiasView& out) const noexcept;

  /// The same for one head in [0, heads), which is written to head 0 of `out`.
  void fill_head(int head, const BiasAxis& queries, const BiasAxis& keys, const BiasView& out) const noexcept;

  /// One entry, the same bits as fill's. head in [0, heads); positions of windows in range.
  float at(int head, std::int64_t query, std::int64_t key) const noexcept;

  /// The learned numbers, flat; empty for Sandwich. ALiBi's are its slopes, KERPLE's r1 then r2, FIRE's c,
  /// threshold_multiplier, w1, b1, w2, b2, Swin v2's w1, b1, w2, the others' their table.
  std::span<const BiasParameter> parameters() const noexcept;
  std::size_t parameter_count() const noexcept;

  /// Adds the gradient of what was learned: d_parameters[p] += sum of d_bias[h, i, j] * d bias[h, i, j] / d parameter
  /// p, in double. At its kink relu has the slope 0, and a maximum of equals half, as in torch; a KERPLE number that
  /// `smallest` (or 2) cut has the gradient at the value it was cut to, as in the authors' code.
  ///
  /// d_parameters  caller-owned, [parameter_count()], accumulated: blocks may come one after the other
  /// Errors: those of check() ("d_bias.data"), "d_parameters.size".
  std::optional<Error> add_gradient(const BiasAxis& queries, const BiasAxis& keys, const ConstBiasView& d_bias,
                                    std::span<double> d_parameters) const;

  /// The same for one head, whose entries are head 0 of d_bias.
  /// Errors: "head" too.
  std::optional<Error> add_gradient_head(int head, const BiasAxis& queries, const BiasAxis& keys,
                                         const ConstBiasView& d_bias, std::span<double> d_parameters) const;

 private:
  struct Prepared;
  struct Heads;
  std::optional<Error> add_gradient(const Heads& heads, const BiasAxis& queries, const BiasAxis& keys,
                                    const ConstBiasView& d_bias, std::span<double> d_parameters) const;
  explicit ScoreBias(std::shared_ptr<const Prepared> prepared) : prepared_(std::move(prepared)) {}
  std::shared_ptr<const Prepared> prepared_;
};

}  // namespace ropewalk
