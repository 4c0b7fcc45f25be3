#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace ropewalk::config {

/// How llama.cpp turns the queries and keys of an architecture (llama_model_rope_type).
enum class GgufRope : std::uint8_t {
  kNorm,      ///< adjacent channels
  kNeox,      ///< halves
  kSections,  ///< halves, and the pairs follow three streams of positions in blocks (MROPE)
  kNone,      ///< does not turn them
  kRefused,   ///< known by name; what it does was not established well enough to answer
};

/// Which layers do what, where they are not all alike. Layer i is a full one if (i + 1) % period == 0, else a sliding
/// one, unless the file lists them (attention.sliding_window_pattern).
struct GgufLayers {
  int period = 0;                ///< 0: all layers are alike
  bool only_with_window = true;  ///< without attention.sliding_window (or with 0) they are all alike
  bool fixed_period = false;     ///< the loader takes no other from the file
  double sliding_theta = 0.0;    ///< if the file has no rope.freq_base_swa; 0: that of the full layers
  bool reads_sliding_theta = false;
  bool sliding_scaled = true;        ///< sliding layers take the file's scaling as well
  bool yarn_spares_sliding = false;  ///< that holds for YaRN too (ext_factor and attn_factor are reset for them)
  bool full_turns = true;            ///< false: full layers have no rotation
  bool takes_divisors = false;       ///< rope_freqs.weight applies to the layers that turn
  std::string_view sliding = "sliding_attention";
  std::string_view full = "full_attention";
};

/// One row per general.architecture.
struct GgufArchitecture {
  std::string_view name;
  GgufRope rope;
  std::string_view source;  ///< where the facts were read; for kRefused, what is not known
  GgufLayers layers{};
  bool latent = false;      ///< MLA: the last rope.dimension_count channels of a head turn
  bool whole_head = false;  ///< the loader demands rope.dimension_count == head_dim
};

/// Every architecture known, by name.
std::span<const GgufArchitecture> gguf_architectures() noexcept;

const GgufArchitecture* find_gguf_architecture(std::string_view name) noexcept;

}  // namespace ropewalk::config
