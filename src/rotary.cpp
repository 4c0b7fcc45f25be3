// Where mathematics meets kernels: phases of positions on one side, heads in memory on the other.
#include <ropewalk/rotary.hpp>

#include "cpu/dispatch.hpp"
#include "rotary_call.hpp"
#include "rotary_tiles.hpp"
#include "rotary_whole_heads.hpp"
#include "threads.hpp"
#include "view_checks.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace ropewalk {
namespace {

int threads_for(std::span<const RotaryOperand> operands, const RotaryCall& call) noexcept {
  double elements = 0;  // a product of four int64 need not fit one
  for (const RotaryOperand& operand : operands)
    elements += static_cast<double>(operand.in.batch) * static_cast<double>(operand.in.tokens) *
                static_cast<double>(operand.in.heads) * static_cast<double>(operand.in.head_dim);
  return threads_for_elements(elements, call.threads, call.pool);
}

template <class View>
std::optional<Error> check_positions(int axes, const HeadsView& model, const View& positions) {
  if (auto error = check_extents(axes, model, positions)) return error;
  if (model.tokens > 0 && positions.data == nullptr) return invalid("positions.data", "want an address, got null");
  return std::nullopt;
}

template <class View>
std::optional<Error> check_call(const RotarySpec& spec, std::span<const RotaryOperand> operands,
                                const View& positions) {
  if (operands.empty()) return std::nullopt;
  if (auto error = check_operands(spec, operands)) return error;
  return check_positions(spec.axes(), operands.front().in, positions);
}

/// One row of cosines and sines says all about a token.
std::optional<Error> check_has_rows(const RotarySpec& spec) {
  if (!needs_whole_heads(spec)) return std::nullopt;
  return Error{Code::kUnsupported, "spec", "want a rotation of the same pairs in every head, got " + to_string(spec)};
}

std::optional<Error> check_table(const RotarySpec& spec, const CosSinTable& table) {
  if (auto error = check_has_rows(spec)) return error;
  if (auto error = want_at_least("table.rows", 0, table.rows)) return error;
  if (table.rows == 0) return std::nullopt;
  if (table.cos == nullptr) return invalid("table.cos", "want an address, got null");
  if (table.sin == nullptr) return invalid("table.sin", "want an address, got null");
  return want_at_least("table.row_stride", table.rows > 1 ? spec.pairs() : 0, table.row_stride);
}

std::optional<Error> check_rows(const PositionsView& positions, std::int64_t rows) {
  for (std::int64_t row = 0; row < positions.batch; ++row)
    for (std::int64_t token = 0; token < positions.tokens; ++token)
      if (const std::int64_t p = positions.data[row * positions.batch_stride + token * positions.token_stride];
          p < 0 || p >= rows)
        return invalid("positions[" + std::to_string(row) + ", " + std::to_string(token) + ']',
                       "want a row of the table, 0 to " + std::to_string(rows - 1) + ", got " + std::to_string(p));
  return std::nullopt;
}

template <class View>
void apply_call(const RotarySpec& spec, const Frequencies& frequencies, const RotaryChannels& channels,
                std::span<const RotaryOperand> operands, const View& positions, const RotaryCall& call) noexcept {
  if (nothing_to_do(operands)) return;
  const int threads = threads_for(operands, call);
  if (!channels.empty())
    run_on(WholeHeadPass<View>(spec, frequencies, channels, operands, positions, call.direction), threads, call.pool);
  else
    run_on(TilePass<View>(spec, frequencies, operands, positions, call.direction, threads), threads, call.pool);
}

}  // namespace

Result<Rotary> Rotary::make(const RotarySpec& spec, std::int64_t running_length) {
  if (auto error = validate(spec)) return *std::move(error);
  auto frequencies = make_frequencies(spec, running_length);
  if (!frequencies) return frequencies.error();
  if (std::string refused = cpu::target_error(); !refused.empty())
    return Error{Code::kUnavailable, "ROPEWALK_TARGET", std::move(refused)};
  Rotary rotary;
  rotary.spec_ = spec;
  rotary.frequencies_ = *std::move(frequencies);
  if (needs_whole_heads(spec)) rotary.channels_ = channels_of(spec);
  return rotary;
}

std::optional<Error> Rotary::check(std::span<const RotaryOperand> operands, const PositionsView& positions) const {
  return check_call(spec_, operands, positions);
}

std::optional<Error> Rotary::check(std::span<const RotaryOperand> operands, const CoordinatesView& positions) const {
  return check_call(spec_, operands, positions);
}

std::optional<Error> Rotary::check(std::span<const RotaryOperand> operands, const CosSinTable& table,
                                   const PositionsView& positions, Direction direction) const {
  if (auto error = check_table(spec_, table)) return error;
  if (direction != Direction::kForward && direction != Direction::kTranspose)
    return Error{Code::kUnsupported, "direction",
                 "want forward or transpose with a table, got " +
                     std::string(direction == Direction::kInverse ? "inverse" : "shift")};
  if (operands.empty()) return std::nullopt;
  if (auto error = check_operands(spec_, operands)) return error;
  if (auto error = check_positions(1, operands.front().in, positions)) return error;
  return check_rows(positions, table.rows);
}

std::optional<Error> Rotary::fill_table(const PositionsView& positions, std::span<float> cos,
                                        std::span<float> sin) const {
  if (auto error = check_has_rows(spec_)) return error;
  if (auto error = want_at_least("positions.axes", spec_.axes(), positions.axes)) return error;
  if (auto error = want_at_least("positions.batch", 0, positions.batch)) return error;
  if (auto error = want_at_least("positions.tokens", 0, positions.tokens)) return error;
  if (positions.tokens > 0 && positions.batch > kMostTokens / positions.tokens)
    return invalid("positions.tokens", "want at most 2^40 in all rows, got " + std::to_string(positions.tokens) +
                                           " in each of " + std::to_string(positions.batch));
  const std::int64_t tokens = positions.batch * positions.tokens, floats = tokens * spec_.pairs();
  if (auto error = want("cos.size", floats, static_cast<std::int64_t>(cos.size()))) return error;
  if (auto error = want("sin.size", floats, static_cast<std::int64_t>(sin.size()))) return error;
  if (tokens == 0) return std::nullopt;
  if (positions.data == nullptr) return invalid("positions.data", "want an address, got null");
  const TokenRows<PositionsView> rows(spec_, frequencies_, positions,
                                      gain_of(spec_, frequencies_, Direction::kForward));
  for (std::int64_t i = 0; i < tokens; ++i)
    rows.fill(i / positions.tokens, i % positions.tokens, 0, spec_.pairs(), cos.data() + i * spec_.pairs(),
              sin.data() + i * spec_.pairs());
  return std::nullopt;
}

void Rotary::apply(std::span<const RotaryOperand> operands, const CosSinTable& table, const PositionsView& positions,
                   const RotaryCall& call) const noexcept {
  if (nothing_to_do(operands)) return;
  const int threads = threads_for(operands, call);
  run_on(TablePass(spec_, operands, table, positions, call.direction, threads), threads, call.pool);
}

void Rotary::apply(std::span<const RotaryOperand> operands, const PositionsView& positions,
                   const RotaryCall& call) const noexcept {
  apply_call(spec_, frequencies_, channels_, operands, positions, call);
}

void Rotary::apply(std::span<const RotaryOperand> operands, const CoordinatesView& positions,
                   const RotaryCall& call) const noexcept {
  apply_call(spec_, frequencies_, channels_, operands, positions, call);
}

}  // namespace ropewalk
