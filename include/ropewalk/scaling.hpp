#pragma once

#include <ropewalk/result.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace ropewalk {

// Every method below starts from the ladder f[j] = theta^(-2j/d), in radians per token, and gives g[j]. d is the number
// of channels that turn, s the factor, L0 the trained context. The formulas, their citations and the checkpoints that
// use them stand at the top of src/math/scaling/<method>.cpp.

/// g = f. RoFormer (Su et al. 2021).
struct NoScaling {
  bool operator==(const NoScaling&) const = default;
};

/// Position interpolation: g = f / s. Chen et al. 2023; "linear" in config.json.
struct LinearOptions {
  double factor = 1.0;  ///< s >= 1
  bool operator==(const LinearOptions&) const = default;
};

/// Which of the published NTK-aware formulas is meant.
enum class NtkForm : std::uint8_t {
  kBase = 0,   ///< theta' = theta * s^(d/(d-2)): bloc97 2023; Tencent's `alpha`
  kFixed = 1,  ///< theta' = theta * s, then divided by s^(2/d): Su 2023 (kexue.fm 9706); vLLM's "ntk"
  kMixed = 2,  ///< g[j] = f[j] / exp(a * (j+1)^b), a = ln s / (d/2)^b: the same article; vLLM's "ntk" with mixed_b
};

/// NTK-aware scaling with a fixed factor.
struct NtkOptions {
  double factor = 1.0;  ///< s >= 1; HunYuan calls it alpha
  NtkForm form = NtkForm::kBase;
  double mixed_b = 0.625;  ///< b > 0, read in the mixed form only
  bool operator==(const NtkOptions&) const = default;
};

/// Where a dynamic base comes from.
enum class DynamicGrowth : std::uint8_t {
  kRunningLength = 0,  ///< from the running length: plain up to L0, then growing (transformers)
  kFullLength = 1,     ///< fixed at the length s * L0 for every prompt (vLLM)
};

/// Dynamic NTK: theta' = theta * (s * l / L0 - (s - 1))^(d/(d-2)), with l = max(running length, L0).
struct DynamicNtkOptions {
  double factor = 1.0;               ///< s >= 1
  std::int64_t trained_context = 0;  ///< L0, tokens: max_position_embeddings (not the original length), > 0
  DynamicGrowth growth = DynamicGrowth::kRunningLength;
  bool operator==(const DynamicNtkOptions&) const = default;
};

/// When a dynamic base that has grown goes back.
enum class DynamicReset : std::uint8_t {
  kBelowTrained = 0,  ///< at the first running length below L0 (transformers since mid 2026)
  kNever = 1,         ///< not at all (transformers 5.0 to early 2026, by a misspelt attribute)
};

/// The exact rule by which the length behind a dynamic base moves from call to call: it grows when a running length is
/// larger than the one remembered, goes back to L0 when a running length is *below* L0, and otherwise keeps what it
/// has. So after 10 000 tokens a call with 6 000 (L0 = 4 096) still turns with the base of 10 000. Keys cached under
/// another length must be re-rotated: `epoch()` changes whenever the base does.
class DynamicLength {
 public:
  explicit DynamicLength(std::int64_t trained_context, DynamicReset reset = DynamicReset::kBelowTrained) noexcept
      : trained_(trained_context), length_(trained_context), reset_(reset) {}

  /// Takes note of a call that reaches up to `running_length` tokens (largest position + 1 over the whole batch).
  /// Returns the length from which the base is to be computed.
  std::int64_t observe(std::int64_t running_length) noexcept {
    const std::int64_t before = length_;
    if (running_length > length_) length_ = running_length;
    if (reset_ == DynamicReset::kBelowTrained && running_length < trained_ && length_ > trained_) length_ = trained_;
    if (length_ != before) ++epoch_;
    return length_;
  }
  std::int64_t length() const noexcept { return length_; }
  std::uint64_t epoch() const noexcept { return epoch_; }

 private:
  std::int64_t trained_;
  std::int64_t length_;
  std::uint64_t epoch_ = 0;
  DynamicReset reset_;
};

/// What the two mscale keys of DeepSeek's YaRN do to the factor on cos and sin. gm(s, a) = 0.1 a ln s + 1, 1 for s
/// <= 1.
enum class MscaleRule : std::uint8_t {
  kBoth = 0,       ///< gm(s, mscale) / gm(s, mscale_all_dim) if both are given and not 0, else gm(s, 1) (transformers)
  kNumerator = 1,  ///< gm(s, mscale or 1) / gm(s, mscale_all_dim or 0) (DeepSeek's own code, vLLM)
};

/// What keeps YaRN's ramp from dividing by zero when it begins where it ends.
enum class RampGuard : std::uint8_t {
  kNudge = 0,  ///< the end moves by 0.001, only if both are equal (the paper's code, transformers, vLLM)
  kFloor = 1,  ///< the width is at least 0.001 (ggml); differs when the end lies before the beginning
};

/// YaRN, or NTK-by-parts with a factor on cos and sin. Peng et al. 2023 (arXiv 2309.00071).
struct YarnOptions {
  double factor = 1.0;               ///< wanted context / trained context, >= 1
  std::int64_t trained_context = 0;  ///< tokens, > 0; the checkpoint's original_max_position_embeddings
  double beta_fast = 32.0;           ///< a pair turning oftener than this over trained_context is left alone
  double beta_slow = 1.0;            ///< a pair turning more rarely is divided by `factor`; between them, a ramp
  bool truncate = true;              ///< widen that ramp to whole pairs
  std::optional<double> attention_factor{};  ///< on cos and sin; unset: from the mscales, else coefficient * ln s + 1
  double mscale = 0.0;                       ///< 0 is "not given"
  double mscale_all_dim = 0.0;               ///< 0 is "not given"
  MscaleRule mscale_rule = MscaleRule::kBoth;
  double mscale_coefficient = 0.1;  ///< 0.07 in TeleChat3
  double extrapolation_factor =
      1.0;  ///< weight of the unscaled part of the ramp (the paper's repository; ggml's ext_factor)
  RampGuard ramp_guard = RampGuard::kNudge;
  bool scale_softmax = false;  ///< DeepSeek: softmax scale times gm(s, mscale_all_dim)^2
  bool operator==(const YarnOptions&) const = default;
};

/// Which of LongRoPE's two lists applies.
enum class LongRopePolicy : std::uint8_t {
  kByLength = 0,  ///< long once the running length is above L0 (transformers); keys cached before must be re-rotated
  kShort = 1,
  kLong = 2,  ///< for engines that choose once from the configured length (vLLM, llama.cpp)
};

/// LongRoPE: g[j] = f[j] / e[j]. Ding et al. 2024 (arXiv 2402.13753); "longrope", "su" in config.json.
struct LongRopeOptions {
  std::vector<double> short_factor{};  ///< [pairs], each > 0
  std::vector<double> long_factor{};   ///< [pairs], each > 0
  std::int64_t trained_context = 0;    ///< L0, tokens, > 0; original_max_position_embeddings
  double factor = 1.0;                 ///< s, for the factor on cos and sin; max_position_embeddings / L0 if not given
  std::optional<double> attention_factor{};  ///< unset: 1 if s <= 1, else sqrt(1 + ln s / ln L0)
  std::optional<double> short_mscale{};      ///< PhiMoE: replaces the factor while the short list applies
  std::optional<double> long_mscale{};       ///< PhiMoE: replaces the factor while the long list applies
  LongRopePolicy policy = LongRopePolicy::kByLength;
  bool operator==(const LongRopeOptions&) const = default;
};

/// Llama 3.1's scaling by wavelength. Strict comparisons on both sides; equal factors are legal (Llama 4 Scout).
struct Llama3Options {
  double factor = 8.0;               ///< s >= 1
  double low_freq_factor = 1.0;      ///< > 0; wavelengths above L0 / this are divided by s
  double high_freq_factor = 4.0;     ///< >= low_freq_factor; wavelengths below L0 / this are left alone
  std::int64_t trained_context = 0;  ///< L0, tokens, > 0
  bool operator==(const Llama3Options&) const = default;
};

/// Gemma 4's proportional encoding: the first rungs of a ladder turn, the others stand still. The fraction does not
/// narrow the ladder: for a part of a head to turn as Gemma 4's does, rotary_dim is the whole head.
/// g[j] = theta^(-2j/D) / s for j < trunc(fraction * D // 2), else 0, with D = frequency_dim, or rotary_dim if that is
/// 0.
struct ProportionalOptions {
  double fraction = 1.0;  ///< of D, in (0, 1]; partial_rotary_factor
  double factor = 1.0;    ///< s >= 1
  bool operator==(const ProportionalOptions&) const = default;
};

/// A list of divisors, one a pair: g[j] = f[j] / (divisors[j] * s). GGUF's rope_freqs.weight.
struct DivisorOptions {
  std::vector<double> divisors{};  ///< [pairs], each > 0; +infinity stops a pair
  double factor = 1.0;             ///< s >= 1; GGUF's rope.scaling.factor beside the tensor
  double attention_factor = 1.0;   ///< on cos and sin
  bool operator==(const DivisorOptions&) const = default;
};

/// How an encoding is stretched: one of the published methods, with its own options.
using Scaling = std::variant<NoScaling, LinearOptions, NtkOptions, DynamicNtkOptions, YarnOptions, LongRopeOptions,
                             Llama3Options, ProportionalOptions, DivisorOptions>;

/// "none", "linear", "ntk", "dynamic", "yarn", "longrope", "llama3", "proportional", "divisors".
std::string_view name_of(const Scaling& scaling) noexcept;

/// True if g depends on how long the sequence has grown (dynamic NTK, LongRoPE by length).
bool depends_on_length(const Scaling& scaling) noexcept;

/// A method by its name, with a factor and the trained context, everything else at its default: what
/// `--scaling NAME --factor F` means. Names: none, linear, ntk, dynamic, yarn.
/// Errors: kUnsupported for another name (it lists the known ones), kInvalid for a factor below 1 or a context below 1.
Result<Scaling> make_scaling(std::string_view name, double factor, std::int64_t trained_context);

}  // namespace ropewalk
