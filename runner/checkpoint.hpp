#pragma once

#include <ropewalk/config.hpp>
#include <ropewalk/result.hpp>

#include "runner/architecture.hpp"
#include "runner/model.hpp"
#include "runner/tokenizer.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace ropewalk::runner {

/// A checkpoint on disk, its sizes and the shape and type of every tensor checked, its weights still where they lie.
class Checkpoint {
 public:
  /// Errors as Model::load, as far as no weight has to be packed.
  static Result<Checkpoint> open(const std::string& path, const std::string& family);

  const ModelConfig& config() const noexcept;
  const CheckpointPositions& positions() const noexcept;
  const Tokenizer& tokenizer() const noexcept;
  const Architecture& architecture() const noexcept;

  /// Rows [first, first + count) of a tensor as float32, [count, columns]; a norm has one row, and is what
  /// the normed are multiplied by, whatever the file holds. The architecture has the role, and the rows exist.
  void read(Role role, int layer, std::int64_t first, std::int64_t count, float* out) const noexcept;

 private:
  struct State;
  explicit Checkpoint(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  std::shared_ptr<const State> state_;
};

}  // namespace ropewalk::runner
