#pragma once

#include <ropewalk/config.hpp>
#include <ropewalk/result.hpp>
#include <ropewalk/spec.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ropewalk {

/// Whose reading of a checkpoint. The conventions are those that docs/divergences.md lists, each with its source.
enum class Engine : std::uint8_t {
  kHf = 0,        ///< transformers 5.23.0: what read_positions describes
  kVllm = 1,      ///< vLLM, vllm/model_executor/layers/rotary_embedding
  kLlamaCpp = 2,  ///< llama.cpp, from the GGUF that its own converter writes
};

/// "hf", "vllm", "llama.cpp".
std::string_view name_of(Engine engine) noexcept;
/// Errors: kUnsupported for another name (it lists the known ones).
Result<Engine> engine_named(std::string_view name);

struct EngineOptions {
  /// Tokens the engine is configured for: vLLM's max_model_len, llama.cpp's n_ctx. 0: the checkpoint's max_context.
  std::int64_t context = 0;
};

/// One thing that an engine does otherwise than the checkpoint's words.
struct Departure {
  std::string_view id;  ///< "B-1": the entry of docs/divergences.md
  std::string what;     ///< one sentence with its figures
};

/// A kind of layer as an engine turns it.
struct EngineReading {
  std::optional<RotarySpec> spec;  ///< nothing: the engine does not rotate this kind either
  std::vector<Departure> departures;
  std::optional<QueryTemperature> unrotated_query_temperature{};  ///< of a kind that does not rotate

  /// Of either, the one that this kind has.
  const std::optional<QueryTemperature>& query_temperature() const noexcept {
    return spec ? spec->query_temperature : unrotated_query_temperature;
  }
};

/// Reads one kind of a checkpoint by an engine's conventions.
/// `positions` is the checkpoint that `kind` belongs to: some rules ask for its family and its lengths.
EngineReading read_as(Engine engine, const CheckpointPositions& positions, const LayerKind& kind,
                      const EngineOptions& options = {});

}  // namespace ropewalk
