#pragma once

#include <ropewalk/config.hpp>
#include <ropewalk/frequencies.hpp>

#include <gtest/gtest.h>

#include <string>
#include <string_view>

/// A config.json written as its keys, without the outer braces and with ' for ".
inline std::string json_of(std::string_view keys) {
  std::string text = "{" + std::string(keys) + "}";
  for (char& c : text)
    if (c == '\'') c = '"';
  return text;
}

inline ropewalk::Result<ropewalk::CheckpointPositions> read_text(std::string_view keys,
                                                                 const std::string& family = "") {
  return ropewalk::read_config_json(json_of(keys), "config.json", {.family = family});
}

/// The answer, which there must be.
inline ropewalk::CheckpointPositions answer(std::string_view keys, const std::string& family = "") {
  auto positions = read_text(keys, family);
  EXPECT_TRUE(positions) << keys << "\n" << positions.error().line();
  return positions ? *positions : ropewalk::CheckpointPositions{};
}

/// The one line with which a config is refused.
inline std::string refusal(std::string_view keys, const std::string& family = "") {
  const auto positions = read_text(keys, family);
  return positions ? "(answered)" : positions.error().line();
}

inline std::string print_of(std::string_view keys) {
  const auto print = ropewalk::fingerprint(answer(keys));
  EXPECT_TRUE(print) << keys;
  return print ? *print : "";
}

inline const ropewalk::LayerKind* kind_named(const ropewalk::CheckpointPositions& positions, std::string_view name) {
  for (const ropewalk::LayerKind& kind : positions.kinds)
    if (kind.name == name) return &kind;
  ADD_FAILURE() << "no kind " << name;
  return nullptr;
}

inline ropewalk::Frequencies frequencies_of(const ropewalk::CheckpointPositions& positions, std::string_view name,
                                            std::int64_t length = 0) {
  const ropewalk::LayerKind* const kind = kind_named(positions, name);
  if (kind == nullptr || !kind->spec) return {};
  const auto frequencies = ropewalk::make_frequencies(*kind->spec, length);
  EXPECT_TRUE(frequencies);
  return frequencies ? *frequencies : ropewalk::Frequencies{};
}

constexpr std::string_view kSmall =
    "'model_type':'llama','hidden_size':4096,'num_attention_heads':32,'num_hidden_layers':4,'max_position_embeddings':"
    "8192";
inline std::string small(std::string_view more) {
  return std::string(kSmall) + (more.empty() ? "" : ",") + std::string(more);
}
