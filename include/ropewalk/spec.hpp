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

/// A rotary encoding as plain data: what one kind of layer does to its queries and keys.
///
/// A head is head_dim channels, of which [rotary_offset, rotary_offset + rotary_dim) turn, in rotary_dim / 2 pairs laid
/// out by `layout`. Pair j turns by position[axis_of_pair[j]] * inv_freq[j], where inv_freq comes from theta and
/// scaling (frequencies.hpp). Model families differ in these values only, never in code.
struct RotarySpec {
  int head_dim = 0;       ///< channels in one head, > 0
  int rotary_dim = 0;     ///< channels that turn, even, in [2, head_dim - rotary_offset]
  int rotary_offset = 0;  ///< the first of them; DeepSeek's MLA turns the last ones
  double theta = 0.0;     ///< the base of the ladder, > 1; `rope_theta`. No default: a checkpoint says it
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
  bool clockwise = false;  ///< turn by -phase (nanochat)
  /// Extra factor on the softmax scale that the family asks for beside its scaling; 1 otherwise.
  double softmax_scale_multiplier = 1.0;
  std::optional<QueryTemperature> query_temperature{};

  int pairs() const noexcept { return rotary_dim / 2; }
  /// Streams of positions it needs: 1 + the largest axis.
  int axes() const noexcept;
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
