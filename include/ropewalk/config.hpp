#pragma once

#include <ropewalk/result.hpp>
#include <ropewalk/spec.hpp>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ropewalk {

/// One kind of layer: all layers that turn (or do not turn) their queries and keys alike.
struct LayerKind {
  std::string name;                ///< the layer type of a nested config ("full_attention"), or "default"
  std::vector<int> layers;         ///< their indices, rising; empty if the config does not say how many there are
  int head_dim = 0;                ///< channels of a query or key head
  std::optional<RotarySpec> spec;  ///< nothing: this kind does not rotate
  /// What each position stream counts, in the order in which the family's own code and positions_from_grid have them:
  /// "time", "height", "width", "token", "image", or a name of the family's own. Empty for one stream.
  std::vector<std::string> streams{};
  /// What a kind that does not rotate multiplies its queries by (Llama 4). A kind that rotates has it in its spec.
  std::optional<QueryTemperature> unrotated_query_temperature{};

  /// Of either, the one that this kind has.
  const std::optional<QueryTemperature>& query_temperature() const noexcept {
    return spec ? spec->query_temperature : unrotated_query_temperature;
  }
};

/// Where a number of the answer came from.
struct Provenance {
  std::string what;   ///< "theta", "head_dim", "scaling.factor", "pair_layout"; with "[kind]" behind it if kinds differ
  std::string value;  ///< as printed
  std::string from;   ///< "rope_parameters.rope_theta", "gguf:llama.rope.freq_base", "hidden_size /
                      ///< num_attention_heads", "llama family: rope_theta is 10000 if missing"
};

/// What a checkpoint's positions do, as read from its own words.
struct CheckpointPositions {
  std::string source;                ///< the file that was read
  std::string model_type;            ///< config.json's model_type, GGUF's general.architecture
  std::string family;                ///< whose conventions were followed: model_type itself, or the --family given
  std::string part;                  ///< which part of a config of several was read, "text", "vision"; empty: the whole
  std::vector<std::string> parts;    ///< those that it has, by the names that ReadOptions::part takes
  std::int64_t trained_context = 0;  ///< tokens the weights were trained for; 0 if unknown
  std::int64_t max_context = 0;      ///< tokens the checkpoint claims (max_position_embeddings); 0 if unknown
  int layer_count = 0;               ///< 0 if unknown
  std::vector<LayerKind> kinds;      ///< at least one
  std::vector<Provenance> provenance;
  std::vector<std::string> keys_used;     ///< dotted paths
  std::vector<std::string> keys_ignored;  ///< of those about positions: seen and not used, each a dotted path
  std::vector<std::string> notes;         ///< what a reader should know: a default that was the family's, an alias, ...
};

struct ReadOptions {
  std::string family{};  ///< follow this family's conventions whatever model_type says; empty: model_type's own
  /// Which part of a config.json of several: "vision" reads vision_config, "talker.text" the text_config in
  /// talker_config. Empty: the language model, or the whole. A part that is read is the one that was asked for, or one
  /// inside it that is meant ("thinker": "thinker.text"); every other name is refused.
  std::string part{};
  Numerics numerics = Numerics::kExact;
};

/// Reads a config.json, a GGUF file, or a folder that holds config.json.
///
/// A checkpoint is answered rightly or refused by name. Errors: kUnavailable (no such file), kFormat (not JSON, hostile
/// GGUF), kUnsupported (unknown model_type: the nearest known ones and `--family`; unknown rope_type; a model whose
/// positions this version does not know), kInvalid (conflicting keys, a value out of its domain, a missing theta).
/// The path of an error names the key: "rope_parameters.rope_type", "gguf:llama.rope.scaling.type".
Result<CheckpointPositions> read_positions(const std::string& path, const ReadOptions& options = {});

/// The same from the text of a config.json; `source` stands in messages.
Result<CheckpointPositions> read_config_json(std::string_view text, const std::string& source,
                                             const ReadOptions& options = {});

/// A danger that a spec carries at a length.
struct Hazard {
  std::string kind;     ///< the layer kind, or "" for all
  std::string message;  ///< one sentence with its figures
};

/// What may go wrong with these positions at `length` tokens (0: max_context): the float32 phase error there, tables
/// in half precision, pairs that never finished a turn in training, lengths past the trained one without scaling, keys
/// that must be re-rotated when a length-dependent scaling moves, amplitudes that engines forget.
std::vector<Hazard> hazards_of(const CheckpointPositions& positions, std::int64_t length = 0);

/// One hash over all kinds, in order: equal for checkpoints whose positions are the same (spec.hpp's fingerprint).
Result<std::string> fingerprint(const CheckpointPositions& positions, std::int64_t running_length = 0);

/// What this version knows of a model family: one row of src/config/families.cpp.
struct Family {
  std::string_view name;  ///< model_type, or GGUF's architecture
  PairLayout layout = PairLayout::kUnset;
  bool rotates = true;      ///< false: known to have no rotary positions at all (gpt2, mpt, ...)
  std::string_view source;  ///< where the facts were read
};

/// Every family known, by name.
std::span<const Family> known_families();

}  // namespace ropewalk
