#pragma once

#include <ropewalk/config.hpp>
#include <ropewalk/layout.hpp>
#include <ropewalk/safetensors.hpp>

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace ropewalk::cli {

/// Rows of a tensor, one behind the other: heads whose channels are to be reordered, or rows that stay where they are.
struct RowRun {
  std::int64_t rows = 0;               ///< a multiple of head->head_dim, if there is a head
  std::optional<HeadChannels> head{};  ///< nothing: they stay
};

/// A tensor that holds queries or keys. Its runs, one behind the other and again from the first, fill it.
struct QkTensor {
  std::vector<RowRun> runs;
  std::int64_t rows = 0;  ///< of the whole tensor; every row is bytes / rows long
};

/// What has to be reordered in a checkpoint, by the names and shapes of its tensors: the projections to queries and
/// keys of every layer that rotates, with their biases, the norms on a head's channels and the scales of quantised
/// rows. A tensor that is not in the answer is to be copied.
///
/// Which layer rotates, and which of its channels, is `positions`; how many heads there are is config.json's word
/// (`config`), held against every shape. A tensor of an attention block is known by name or refused, so that nothing is
/// left behind in the old order. Throws Refused with the tensor's name.
std::map<std::string, QkTensor> find_qk_tensors(const CheckpointPositions& positions, const nlohmann::json& config,
                                                std::span<const SafetensorsTensor> tensors);

}  // namespace ropewalk::cli
