#pragma once

#include <ropewalk/config.hpp>
#include <ropewalk/position_maps.hpp>
#include <ropewalk/result.hpp>

#include "runner/model.hpp"

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ropewalk::runner {

/// One scaling to be measured, or a position map over the checkpoint's own frequencies. What is unset ("auto") is taken
/// from the length and from the trained context L, for each length anew.
struct ScalingChoice {
  /// A name of make_scaling; "own": as the checkpoint says; or "self-extend", "rerope", "leaky-rerope", "dual-chunk".
  std::string name = "none";
  /// Of a scaling: auto is max(1, length / L). Of self-extend the group, and of leaky-rerope the divisor: auto is the
  /// least whose largest distance stays below L. The others have none.
  std::optional<double> factor{};
  /// Of maps: the window, auto L / 4; of dual-chunk the local size, auto a twelfth of the chunk size.
  std::optional<std::int64_t> window{};
  std::optional<std::int64_t> chunk{};  ///< of dual-chunk: the chunk size, auto 3 L / 4
  bool operator==(const ScalingChoice&) const = default;
};

/// Whether a name is one of the four maps; whether a factor means something to it.
bool is_position_map(std::string_view scaling) noexcept;
bool takes_factor(std::string_view scaling) noexcept;
/// "self-extend, rerope, leaky-rerope, dual-chunk"
std::string_view position_map_names() noexcept;

/// A choice at one length.
struct ResolvedScaling {
  double factor = 1.0;               ///< 1 where it has no meaning
  std::optional<PositionMap> map{};  ///< of a choice that is one
};
/// Errors: kInvalid with path "--scaling" (the checkpoint does not say how long it was trained; a window or chunk that
/// does not stay below that) or "--factor".
Result<ResolvedScaling> resolve(const CheckpointPositions& positions, const ScalingChoice& choice, std::int64_t length);

struct PlanOptions {
  std::vector<std::int64_t> lengths;    ///< tokens of context, each > score
  std::vector<ScalingChoice> scalings;  ///< at least one
  std::int64_t score = 1024;            ///< tokens scored at the end of each context, > 0
  int windows = 1;                      ///< places in the text, spread evenly over it
};

/// One run of the model: `length` tokens of the text, of which the last ones are scored.
///
/// The tokens [first_token, first_token + length) are fed at positions 0, 1, ..., length - 1, nothing before them;
/// where the checkpoint wants a token before every text (Tokenizer::begin_token), that one stands in place of the
/// first. The token at text index t in [scored_first, scored_end) is scored by the logits of the token before it, at
/// position t - 1 - first_token. So first_token = scored_end - length, and every length scores the same tokens of a
/// window.
struct WindowTask {
  std::int64_t length = 0;
  std::string scaling;  ///< the name, as chosen
  double factor = 1.0;  ///< resolved
  int window = 0;       ///< which place in the text, from 0
  std::int64_t first_token = 0;
  std::int64_t scored_first = 0;
  std::int64_t scored_end = 0;
  std::optional<PositionMap> map{};  ///< resolved
  bool operator==(const WindowTask&) const = default;
};

/// The runs of a plan over a text of `text_tokens`: by length, then scaling, then window, short ones first.
///
/// Window w of W scores the `score` tokens that end at longest + (text_tokens - longest) * (2w + 1) / (2W), rounded
/// down, where longest is the largest length: the middle of the w-th of W equal strips. Equal runs are kept once.
/// Errors: kInvalid with the path of the option: "--lengths" (empty, longer than the text, not above score), "--score",
/// "--windows" (below 1, or more than the text has places for), "--scaling" (unknown; the checkpoint does not say how
/// long it was trained and factor is auto), "--factor".
Result<std::vector<WindowTask>> plan_windows(const CheckpointPositions& positions, std::int64_t text_tokens,
                                             const PlanOptions& options);

/// One run that scores every token but the first of `length` tokens from `first_token` on: the loss by position.
/// Errors as plan_windows.
Result<WindowTask> plan_by_position(const CheckpointPositions& positions, std::int64_t text_tokens, std::int64_t length,
                                    const ScalingChoice& scaling, std::int64_t first_token = 0);

/// What a run gave.
struct WindowRecord {
  WindowTask task;
  std::int64_t tokens_seen = 0;    ///< tokens fed: task.length
  double nll_sum = 0.0;            ///< nats, over the scored tokens
  double tokens_per_second = 0.0;  ///< tokens_seen / the time for body and scoring together
  double body_seconds = 0.0;       ///< the part of it spent before the output matrix
  std::vector<float> nll{};        ///< [scored_end - scored_first] nats, one a scored token

  double perplexity() const;  ///< exp(nll_sum / scored tokens); +infinity if that overflows
};

/// Where a run stands. fraction is of its arithmetic, so that the time left is seconds * (1 - fraction) / fraction.
struct Progress {
  double fraction = 0.0;         ///< in [0, 1]
  std::int64_t tokens_done = 0;  ///< fraction * length, rounded down
  double seconds = 0.0;          ///< since the run began
};

struct MeasureOptions {
  std::function<void(const Progress&)> progress{};  ///< called on the caller's thread, after each chunk of a layer
  const std::atomic<bool>* cancel = nullptr;        ///< looked at as often; true ends the run with an Error
  std::int64_t chunk = 0;                           ///< tokens worked on together; 0: chosen by the runner
};

/// Runs one task. `text` is the whole text's ids.
///
/// A scaling that depends on the length is taken at `length` tokens for every key of the run, as one forward pass of
/// transformers takes it. Layers are run one after another over the whole window, so that only one layer's keys and
/// values are ever held: memory is linear in the length.
/// Errors: those of make_scaling and Rotary::make; kInvalid with path "--lengths" if memory_needed is above what is
/// free; kInvalid for a task outside the text or an id outside the vocabulary; kInvalid with the weights as path
/// ("weights of layer 3") if NaN or infinity comes out of them, so that every loss of a record is finite; kUnavailable
/// with path "eval" and message "interrupted" if it was cancelled.
Result<WindowRecord> measure(const Model& model, std::span<const std::int32_t> text, const WindowTask& task,
                             const MeasureOptions& options = {});

/// Bytes that `measure` allocates beside the weights for a run of `length` tokens.
std::int64_t memory_needed(const Model& model, std::int64_t length,
                           const std::optional<PositionMap>& map = std::nullopt);
/// Bytes the system could give a program now; 0 if it does not say.
std::int64_t memory_available();

/// The layer kinds of a checkpoint under another scaling: its own with the scaling of every rotating kind that sees the
/// whole context replaced ("none" included, which removes it), or untouched for "own". Kinds whose queries see near
/// keys only (architecture.hpp's is_local) keep their own: no distance in them grows with the context. Trained context
/// as `positions` says. Errors: those of make_scaling; kUnsupported if the checkpoint does not say how long it was
/// trained.
Result<std::vector<LayerKind>> scaled_kinds(const CheckpointPositions& positions, std::string_view scaling,
                                            double factor);

/// scaled_kinds of a task; a map goes with the checkpoint's own.
Result<std::vector<LayerKind>> kinds_of(const CheckpointPositions& positions, const WindowTask& task);

/// The mean loss over stretches of positions, for a curve.
struct PositionBucket {
  std::int64_t first = 0;  ///< position of the first scored token in it, counted from the window's first token
  std::int64_t end = 0;    ///< one behind the last
  double mean_nll = 0.0;   ///< nats a token
};
/// Cuts a record's losses into at most `buckets` stretches of equal width (the last may be shorter).
std::vector<PositionBucket> bucket_by_position(const WindowRecord& record, int buckets);

/// Several windows of one length and scaling.
struct Summary {
  std::int64_t length = 0;
  std::string scaling;
  double factor = 1.0;
  std::optional<PositionMap> map{};
  int windows = 0;
  double mean_nll = 0.0;           ///< nats a token, over all scored tokens
  double perplexity = 0.0;         ///< exp(mean_nll)
  double spread = 0.0;             ///< standard deviation over windows of nats a token (n - 1); 0 for one window
  double tokens_per_second = 0.0;  ///< all tokens over all time
};
/// By length, scaling, factor and map, in the order of their first record.
std::vector<Summary> summarize(std::span<const WindowRecord> records);

}  // namespace ropewalk::runner
