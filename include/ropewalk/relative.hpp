#pragma once

#include <ropewalk/absolute.hpp>
#include <ropewalk/bias.hpp>
#include <ropewalk/result.hpp>
#include <ropewalk/tensor.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <variant>
#include <vector>

namespace ropewalk {

// What is added to the scores before the softmax and needs the queries or keys themselves: term[h, i, j] for head h, a
// query q at position i, a key k at position j, n = i - j. Unlike a bias it has a scale in it, the one that q . k has
// beside it. Learned arrays are of one layer. No mask is in any of them.

/// Shaw et al. (arXiv 1803.02155): a learned key, and a learned value, for each distance up to a clip.
///
///     term = scale q . key_table[r],   r = clip(j - i, -left, right) + left
///     out += sum over j of p[i, j] value_table[r]          add_values()
///
/// Rows count keys from the farthest before the query on, as in the paper and in Wav2Vec2-BERT (`relative_key`); BERT's
/// `relative_key` counts them from the other end.
struct ShawRelative {
  int heads = 0;
  int head_dim = 0;
  std::int64_t left = 16;            ///< the paper's k; `left_max_position_embeddings`: 0 to 2^24
  std::int64_t right = 16;           ///< behind the query; `right_max_position_embeddings`; 0 in a causal model
  bool table_per_head = false;       ///< tables are [heads, left + right + 1, ...]; the paper's heads share one
  std::vector<float> key_table{};    ///< [left + right + 1, head_dim]; empty: no such term
  std::vector<float> value_table{};  ///< [left + right + 1, value_dim]; empty: no such term
  int value_dim = 0;                 ///< 0: head_dim
  std::optional<double> scale{};     ///< unset: 1 / sqrt(head_dim)
  bool operator==(const ShawRelative&) const = default;
};

/// Transformer-XL (arXiv 1901.02860), XLNet, Conformers (Wav2Vec2-Conformer and -BERT, SeamlessM4T, Parakeet):
///
///     term = scale ((q + v) . table[n] + u . k),   table[n] = W_kR R_n,   R_n a sinusoid of n
///
/// The table is given, or made from `projection` (W_kR) at model_dim, order and theta. Causal models need distances
/// from 0 on, others from -(tokens - 1) on. Beyond the ends of the table the row of the end stands if `clamp`;
/// otherwise such a block is refused, save keys behind a query where least_distance is 0, which a causal model masks.
struct TransformerXlRelative {
  int heads = 0;
  int head_dim = 0;
  std::int64_t least_distance = 0;  ///< of the table's first row
  std::int64_t most_distance = 0;   ///< of its last row
  bool clamp = false;               ///< XLNet's `clamp_len`: from -clamp_len to clamp_len
  std::vector<float> table{};       ///< [most_distance - least_distance + 1, heads, head_dim]
  std::vector<float> projection{};  ///< [heads, head_dim, model_dim], as `r_net.weight`, `linear_pos.weight`
  int model_dim = 0;                ///< of R_n, even
  SinusoidOrder order = SinusoidOrder::kConcatenated;  ///< XLNet too; Conformers have kInterleaved
  double theta = 10000.0;
  std::vector<float> u{};         ///< [heads, head_dim]: `r_w_bias`, `pos_bias_u`; empty: 0
  std::vector<float> v{};         ///< [heads, head_dim]: `r_r_bias`, `pos_bias_v`; empty: 0
  std::optional<double> scale{};  ///< unset: 1 / sqrt(head_dim)
  bool operator==(const TransformerXlRelative&) const = default;
};

/// Which way DeBERTa's position-to-content term counts.
enum class P2cDistance : std::uint8_t {
  /// delta(i, j), as c2p: what Microsoft's code and transformers' compute, and every checkpoint was trained with. They
  /// take row delta(j, i) for a key's row and transpose afterwards, which exchanges i and j once more.
  kAsCheckpoints = 0,
  kAsPrinted = 1,  ///< delta(j, i), the key's view of the distance: equation 4 of the paper
};

/// DeBERTa (arXiv 2006.03654) and DeBERTa-v2, v3 (SEW-D too):
///
///     term = scale (q . c2p_table[delta(i, j)] + k . p2c_table[delta(i, j) or delta(j, i)])
///     delta(a, b) = clip(bucket(a - b) + span, 0, 2 span - 1)
///
/// Without max_distance (v1) bucket(n) = n. With it (v2, v3) distances up to mid = floor(span / 2) have a bucket each,
/// and farther ones share buckets: sign(n) (mid + ceil(ln(|n| / mid) / ln((max_distance - 1) / mid) (mid - 1))).
struct DebertaRelative {
  int heads = 0;
  int head_dim = 0;
  std::int64_t span = 512;         ///< v1: `max_relative_positions`, 1 to 2^24; v2, v3: `position_buckets`, 8 to 4096
  std::int64_t max_distance = 0;   ///< v2, v3: `max_relative_positions`, mid + 2 to 2^20; 0: no buckets
  std::vector<float> c2p_table{};  ///< [2 span, heads, head_dim]: K_r, projected; empty: no such term
  std::vector<float> p2c_table{};  ///< [2 span, heads, head_dim]: Q_r, projected; empty: no such term
  P2cDistance p2c_distance = P2cDistance::kAsCheckpoints;
  std::optional<double> scale{};  ///< unset: 1 / sqrt(terms head_dim), terms being 1 + the number of tables
  bool operator==(const DebertaRelative&) const = default;
};

/// Smallest |distance| of each bucket of one side, for buckets 0 to span: exact, as t5_bucket_starts.
/// Errors: kInvalid for span and max_distance beyond what DebertaRelative says of v2 and v3.
Result<std::vector<std::int64_t>> deberta_bucket_starts(std::int64_t span, std::int64_t max_distance);

/// CoPE (arXiv 2405.18719): positions that count what the query asks for.
///
///     term = scale ((1 - w) q . table[:, floor(p)] + w q . table[:, ceil(p)]),   w = p - floor(p)
///     p = min(positions - 1, sum of sigmoid(gate_scale q . k_t) over the keys t at positions from j to i)
///
/// An entry needs all keys from its own to its query, so rows are whole: needs_whole_rows().
struct CopeRelative {
  int heads = 0;
  int head_dim = 0;
  int positions = 64;                  ///< `npos_max`, 2 to 4096
  std::vector<float> table{};          ///< [head_dim, positions], as `pos_emb`; 0 at first, shared by heads
  bool causal = true;                  ///< keys behind the query do not count; false: all up to the last one do
  std::optional<double> gate_scale{};  ///< unset: 1 / sqrt(head_dim), for gates are made of the scores
  double scale = 1.0;                  ///< the paper's listing has none here
  bool operator==(const CopeRelative&) const = default;
};

using RelativeSpec = std::variant<ShawRelative, TransformerXlRelative, DebertaRelative, CopeRelative>;

/// "shaw", "transformer_xl", "deberta", "cope"
std::string_view name_of(const RelativeSpec& spec) noexcept;

/// Some queries and some keys of one row of a batch.
struct RelativeBlock {
  HeadsView q{};         ///< [batch, queries, heads, head_dim], read; not looked at if reads_queries() is false
  HeadsView k{};         ///< [batch, keys, kv_heads, head_dim], read where reads_keys(); kv_heads divides the heads
  BiasAxis queries{};    ///< positions of q's tokens
  BiasAxis keys{};       ///< positions of k's tokens
  std::int64_t row = 0;  ///< of the batch
  std::int64_t first_head = 0;
  std::int64_t heads = 0;  ///< 0: all from first_head on
};

/// Where add_gradient() adds; what is left empty is not wanted.
struct RelativeGradient {
  HeadsView d_q{};                   ///< as q, float32
  HeadsView d_k{};                   ///< as k, float32: heads that share a key head add up
  std::span<double> d_parameters{};  ///< [parameter_count()]
};

/// The prepared encoding: made once from its options, then asked for any block. Immutable; copies share what is
/// prepared; any number of threads may use it at once. There is never an array of [queries, keys, head_dim]: queries
/// (or keys) are multiplied with the rows of a table that a block touches, once, and products are gathered.
class RelativeScore {
 public:
  /// Errors: kInvalid with the path of the field ("shaw.key_table.size") for what its struct excludes, arrays of
  /// another size than it says, numbers that are not finite; kUnavailable as Rotary::make.
  static Result<RelativeScore> make(const RelativeSpec& spec);

  const RelativeSpec& spec() const noexcept;
  int heads() const noexcept;
  int head_dim() const noexcept;
  bool reads_queries() const noexcept;  ///< false: DeBERTa with p2c alone, Shaw with values alone
  bool reads_keys() const noexcept;     ///< Transformer-XL's u, DeBERTa's p2c, CoPE
  bool has_values() const noexcept;     ///< Shaw with a value_table
  /// True for CoPE: check() wants the keys of a block to be a run that reaches the last query's position (or, where it
  /// is not causal, the caller to give all keys to the sequence's end). Working memory does not grow with them.
  bool needs_whole_rows() const noexcept;
  /// What the attention that this belongs to multiplies q . k by: 1 / sqrt(head_dim), DeBERTa 1 / sqrt(3 head_dim).
  double softmax_scale() const noexcept;

  /// What is wrong with a block, or nothing: views, axes (check() of ScoreBias), counts that differ, heads beyond the
  /// last, distances that a table does not hold. Paths: "q.tokens", "keys.count", "out.key_stride".
  [[nodiscard]] std::optional<Error> check(const RelativeBlock& block, const BiasView& out) const;

  /// out[h - first_head, i, j] = (or, add: +=) the term. Sums are float32, each within (head_dim + 8) 2^-24 of the sum
  /// of its products' magnitudes; CoPE adds gates in double. The bits depend on the CPU target. Works on the caller's
  /// thread alone; allocates nothing beyond its stack (96 KiB). Requires check() to have nothing to say.
  void fill(const RelativeBlock& block, const BiasView& out) const noexcept;
  void add(const RelativeBlock& block, const BiasView& out) const noexcept;

  /// For CoPE: the entries of some of the block's keys, [first_key, first_key + keys) of its k, which are written to
  /// out's key 0 and on. For the others the same as a block of those keys.
  void fill_keys(const RelativeBlock& block, std::int64_t first_key, std::int64_t keys,
                 const BiasView& out) const noexcept;

  /// One entry, in double, as the formula reads: for checking. head in [first_head, ...), i of the queries, j of the
  /// keys.
  double at(const RelativeBlock& block, std::int64_t head, std::int64_t i, std::int64_t j) const noexcept;

  /// The learned numbers, flat, in the order of the struct: Shaw "key_table", "value_table"; Transformer-XL "table" or
  /// "projection", "u", "v"; DeBERTa "c2p_table", "p2c_table"; CoPE "table". Those left empty are not there.
  std::span<const BiasParameter> parameters() const noexcept;
  std::size_t parameter_count() const noexcept;

  /// Given d_score[h - first_head, i, j], adds to the gradients of q, k and what was learned, in double (rounded once
  /// where it is added to d_q and d_k). Blocks may come one after the other. Allocates what grows with the keys of a
  /// block; for Transformer-XL's projection with its table.
  /// Errors: those of check() ("d_score.data"), "d_q.tokens", "d_parameters.size".
  std::optional<Error> add_gradient(const RelativeBlock& block, const ConstBiasView& d_score,
                                    const RelativeGradient& gradient) const;

  // ---- Shaw's value term; of the block only axes, row and heads are looked at

  /// Views and axes: "probabilities.data", "out.head_dim"; kUnsupported ("spec") without a value_table.
  [[nodiscard]] std::optional<Error> check_values(const RelativeBlock& block, const ConstBiasView& probabilities,
                                                  const HeadsView& out) const;
  /// out[row, i, h] += sum over the block's keys j of probabilities[h - first_head, i, j] value_table[r].
  ///
  /// probabilities  [heads of the block, queries, keys]: after the softmax, 0 where a key is not seen
  /// out            [batch, queries, heads, value_dim], float32
  /// Requires check_values() to have nothing to say. Never fails; allocates nothing.
  void add_values(const RelativeBlock& block, const ConstBiasView& probabilities, const HeadsView& out) const noexcept;
  /// d_probabilities += d_out . value_table[r], d_parameters += probabilities d_out. Data that is null, or a span that
  /// is empty, is not wanted.
  /// Errors: those of check_values() ("d_out.tokens"), "d_parameters.size".
  std::optional<Error> add_value_gradient(const RelativeBlock& block, const ConstBiasView& probabilities,
                                          const HeadsView& d_out, const BiasView& d_probabilities,
                                          std::span<double> d_parameters) const;

 private:
  struct Prepared;
  explicit RelativeScore(std::shared_ptr<const Prepared> prepared) : prepared_(std::move(prepared)) {}
  std::shared_ptr<const Prepared> prepared_;
};

}  // namespace ropewalk
