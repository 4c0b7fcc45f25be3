#pragma once

#include <ropewalk/layout.hpp>
#include <ropewalk/result.hpp>
#include <ropewalk/scaling.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ropewalk {

/// In which arithmetic a phase is formed. Both are published meanings, not qualities of service.
enum class Numerics : std::uint8_t {
  kExact = 0,  ///< the real-number formula: phases are exact integers, 2^64 to a turn (phase.hpp)
  kFp32 = 1,   ///< the float32 chain of transformers, inv_freq and product rounded as it rounds them: for parity
};

constexpr std::string_view name_of(Numerics numerics) noexcept {
  return numerics == Numerics::kExact ? "exact" : "fp32";
}

/// A factor on the query that grows with its position: 1 + beta * ln(1 + floor((p + offset) / context)).
struct QueryTemperature {
  double beta = 0.0;         ///< Llama 4: attn_scale; Ministral 3: llama_4_scaling_beta
  std::int64_t context = 1;  ///< tokens, > 0; Llama 4: floor_scale; Ministral 3: original_max_position_embeddings
  std::int64_t offset = 0;   ///< 1 in Llama 4, 0 in Ministral 3
  bool operator==(const QueryTemperature&) const = default;
};

/// Frequencies that are given, not computed: learned ones (RoPE-ViT's mixed axes, arXiv 2403.13298), or a list that no
/// ladder of theta describes. They take the place of theta, frequency_dim, rung_of_pair and scaling.
struct GivenFrequencies {
  int heads = 1;  ///< tables; head h of H uses table h * heads / H, so H has to be a multiple of it
  int axes = 1;   ///< 1: pair j follows axis_of_pair[j]; more: its phase is the sum over the first `axes` streams
  std::vector<double> inv_freq{};  ///< [heads, axes, pairs] radians per unit of position, of any sign
  bool operator==(const GivenFrequencies&) const = default;
};

/// Where the second channel of a pair has an angle b of its own, and the first has a: y0 = x0 cos a - x1 sin a,
/// y1 = x1 cos b + x0 sin b. Published so by V-JEPA 2 (adjacent pairs under angles that were repeated for halves) and
/// HunyuanVL (halves under axes that change from channel to channel). It is no rotation: norms are not kept and scores
/// do not depend on distance alone.
struct SecondAngle {
  std::vector<int> rung_of_pair{};           ///< [pairs]; empty: as the first channel
  std::vector<std::uint8_t> axis_of_pair{};  ///< [pairs]; empty: as the first channel
  bool operator==(const SecondAngle&) const = default;
};

/// xPos (arXiv 2212.10554): pair j of a query at p grows by zeta_j^((p - c) / scale_base) and of a key shrinks by it,
/// where zeta_j = (2j + gamma d) / (d + gamma d), d = rotary_dim, and c is half the running length. Scores fall with
/// distance; c drops out of them as long as queries and keys were given the same.
struct XPos {
  double scale_base = 512.0;  ///< tokens, > 0
  double gamma = 0.4;         ///< > 0
  /// An odd length has its centre below the half (flash-attn) or above it (torchscale, whose // floors a negative).
  bool centre_above = false;
  bool operator==(const XPos&) const = default;
};

/// FoPE (arXiv 2412.17739): cosines of the first `tones` pairs are mixed into cosines by a learned matrix, and sines
/// into sines: cos'_j = sum_t cos(phase_t) cos_mix[h, t, j]. Pairs from `outputs` on stand still.
struct FourierMix {
  int heads = 1;  ///< matrices; head h of H uses matrix h * heads / H, so H has to be a multiple of it
  int tones = 0;
  int outputs = 0;
  std::vector<double> cos_mix{};  ///< [heads, tones, outputs]
  std::vector<double> sin_mix{};  ///< [heads, tones, outputs]
  bool operator==(const FourierMix&) const = default;
};

/// A rotary encoding as plain data: what one kind of layer does to its queries and keys.
///
/// A head is head_dim channels, of which [rotary_offset, rotary_offset + rotary_dim) turn, in rotary_dim / 2 pairs laid
/// out by `layout`. Pair j turns by position[axis_of_pair[j]] * inv_freq[j], where inv_freq comes from theta and
/// scaling (frequencies.hpp). Model families differ in these values only, never in code.
struct RotarySpec {
  int head_dim = 0;       ///< channels in one head, > 0
  int rotary_dim = 0;     ///< channels that turn, even, in [2, head_dim - rotary_offset]
  int rotary_offset = 0;  ///< the first of them; DeepSeek's MLA turns the last ones
  double theta = 0.0;  ///< the base of the ladder, > 1; `rope_theta`. No default: a checkpoint says it. 0 with `given`
  PairLayout layout = PairLayout::kUnset;
  Scaling scaling = NoScaling{};
  Numerics numerics = Numerics::kExact;

  int frequency_dim = 0;  ///< d in theta^(-2j/d); 0 is rotary_dim
  /// [pairs]: the rung j of the ladder on which a pair stands, for axes that restart it (axial vision, blocks);
  /// empty: pair j stands on rung j.
  std::vector<int> rung_of_pair{};
  /// [pairs]: which stream of positions turns a pair (M-RoPE sections, 2-D grids); empty: all follow stream 0.
  std::vector<std::uint8_t> axis_of_pair{};
  /// [pairs]: learned factors on inv_freq, applied after scaling (Mistral Large 4 stores their logarithms); empty:
  /// none.
  std::vector<double> frequency_multipliers{};
  bool clockwise = false;  ///< turn by -phase (nanochat, musicflamingo)
  /// Radians that one unit of position stands for on the rung of 1: 2 pi for DINOv3's coordinates. Under kFp32 the
  /// position is multiplied by it first, and rounded.
  double position_scale = 1.0;
  /// Pairs of each block of channels that is laid out by itself, first to last (Gemma 4 vision: halves inside each
  /// axis); empty: one block of all pairs.
  std::vector<int> pair_blocks{};
  /// Where the results go if not where they came from: kHalf with layout kInterleaved is DeepSeek-V3's order, whose
  /// cached keys lie otherwise than other engines'. kUnset: as layout. At most 1024 pairs.
  PairLayout output_layout = PairLayout::kUnset;
  std::optional<GivenFrequencies> given{};
  std::optional<SecondAngle> second{};  ///< at most 1024 pairs
  std::optional<XPos> xpos{};           ///< operands have to say which of them are queries (rotary.hpp)
  std::optional<FourierMix> fourier{};  ///< at most 1024 pairs
  /// Extra factor on the softmax scale that the family asks for beside its scaling; 1 otherwise.
  double softmax_scale_multiplier = 1.0;
  std::optional<QueryTemperature> query_temperature{};

  int pairs() const noexcept { return rotary_dim / 2; }
  /// Streams of positions it needs: 1 + the largest axis.
  int axes() const noexcept;
  /// True if norms are kept (attention factor aside) and a score depends on the distance of its tokens alone.
  bool is_rotation() const noexcept { return !second && !xpos && !fourier; }
  /// The channels of a pair in the head it is read from, counted from the head's first.
  ChannelPair channels(int pair) const noexcept;
  /// The same in the head it is written to.
  ChannelPair output_channels(int pair) const noexcept;
  bool operator==(const RotarySpec&) const = default;
};

/// Checks every field against its domain. The path of the error is the field's name, "scaling.factor" for a nested one.
/// Beyond what stands at the fields: head_dim at most 65536, theta 1e30, factors of scalings 1e12, factors on cos, sin
/// and logits (and mscales) in [0, 1e6], multipliers in [-65536, 65536], divisors at least 1/65536; dynamic and kBase
/// NTK scaling want more than 2 channels; every rung below ceil(d / 2).
std::optional<Error> validate(const RotarySpec& spec);

/// 16 hexadecimal digits of a hash of what the spec *does*: pair layout, channels, axes, direction, numerics, every
/// pair's turns_per_token and the factors. Two spellings of one encoding have one fingerprint, on every machine.
/// For scalings that depend on the length, at `running_length` tokens (0: the trained length).
/// Errors: those of `validate`.
Result<std::string> fingerprint(const RotarySpec& spec, std::int64_t running_length = 0);

/// One line with every field that differs from its default, in the words of config.json.
std::string to_string(const RotarySpec& spec);
std::string to_string(const Scaling& scaling);

}  // namespace ropewalk
