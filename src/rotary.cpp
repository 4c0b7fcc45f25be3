// Where mathematics meets kernels: phases of positions on one side, heads in memory on the other.
#include <ropewalk/rotary.hpp>

#include "cpu/dispatch.hpp"
#include "rotary_tiles.hpp"
#include "rotary_whole_heads.hpp"

#include <omp.h>

#include <algorithm>
#include <string>
#include <utility>

namespace ropewalk {
namespace {

// A thread is worth waking for this many elements and more.
constexpr std::int64_t kElementsPerThread = 1 << 16;

std::optional<Error> invalid(std::string path, std::string message) {
  return Error{Code::kInvalid, std::move(path), std::move(message)};
}

std::optional<Error> want(const std::string& path, std::int64_t wanted, std::int64_t got) {
  if (wanted == got) return std::nullopt;
  return invalid(path, "want " + std::to_string(wanted) + ", got " + std::to_string(got));
}

std::optional<Error> want_at_least(const std::string& path, std::int64_t least, std::int64_t got) {
  if (got >= least) return std::nullopt;
  return invalid(path, "want at least " + std::to_string(least) + ", got " + std::to_string(got));
}

/// Far above any memory, far below where counting tiles could overflow.
constexpr std::int64_t kMostTokens = std::int64_t{1} << 40;

bool has_elements(const HeadsView& x) { return x.batch > 0 && x.tokens > 0 && x.heads > 0; }

std::optional<Error> check_view(const std::string& path, const HeadsView& x, int head_dim) {
  if (static_cast<unsigned>(x.dtype) > static_cast<unsigned>(DType::kFloat16))
    return invalid(path + ".dtype",
                   "want float32, bfloat16 or float16, got number " + std::to_string(static_cast<int>(x.dtype)));
  if (auto error = want(path + ".head_dim", head_dim, x.head_dim)) return error;
  if (auto error = want_at_least(path + ".batch", 0, x.batch)) return error;
  if (auto error = want_at_least(path + ".tokens", 0, x.tokens)) return error;
  if (auto error = want_at_least(path + ".heads", 0, x.heads)) return error;
  if (!has_elements(x)) return std::nullopt;
  if (x.batch > kMostTokens / x.tokens)
    return invalid(path + ".tokens", "want at most 2^40 in all rows, got " + std::to_string(x.tokens) + " in each of " +
                                         std::to_string(x.batch));
  if (x.data == nullptr) return invalid(path + ".data", "want an address, got null");
  if (reinterpret_cast<std::uintptr_t>(x.data) % size_of(x.dtype) != 0)
    return invalid(path + ".data", "want an address that " + std::to_string(size_of(x.dtype)) + " divides, as a " +
                                       std::string(name_of(x.dtype)) + " needs");
  return std::nullopt;
}

/// Elements of a written view must be apart from each other; only the plain mistake, a repeated axis, is found.
std::optional<Error> check_written(const std::string& path, const HeadsView& x) {
  const std::pair<const char*, std::pair<std::int64_t, std::int64_t>> axes[] = {
      {".batch_stride", {x.batch, x.batch_stride}},
      {".token_stride", {x.tokens, x.token_stride}},
      {".head_stride", {x.heads, x.head_stride}}};
  for (const auto& [name, axis] : axes)
    if (axis.first > 1 && axis.second == 0)
      return invalid(path + name, "want a stride other than 0 on an axis of " + std::to_string(axis.first) +
                                      " that is written, got 0");
  return std::nullopt;
}

int threads_for(std::span<const RotaryOperand> operands, const RotaryCall& call) noexcept {
  const int wanted = call.threads;
  if (wanted == 1 || omp_in_parallel()) return 1;
  double elements = 0;  // a product of four int64 need not fit one
  for (const RotaryOperand& operand : operands)
    elements += static_cast<double>(operand.in.batch) * static_cast<double>(operand.in.tokens) *
                static_cast<double>(operand.in.heads) * static_cast<double>(operand.in.head_dim);
  const double worth = elements / static_cast<double>(kElementsPerThread);
  const int most = wanted > 0 ? wanted : omp_get_max_threads();
  return worth >= most ? most : std::max(1, static_cast<int>(worth));
}

std::optional<Error> check_operands(const RotarySpec& spec, std::span<const RotaryOperand> operands) {
  const HeadsView& model = operands.front().in;
  for (std::size_t i = 0; i < operands.size(); ++i) {
    const std::string path = "operands[" + std::to_string(i) + ']';
    const auto& [in, out, role] = operands[i];
    if (auto error = check_view(path + ".in", in, spec.head_dim)) return error;
    if (auto error = check_view(path + ".out", out, spec.head_dim)) return error;
    if (out.dtype != in.dtype)
      return invalid(path + ".out.dtype",
                     "want " + std::string(name_of(in.dtype)) + ", got " + std::string(name_of(out.dtype)));
    if (auto error = want(path + ".in.batch", model.batch, in.batch)) return error;
    if (auto error = want(path + ".in.tokens", model.tokens, in.tokens)) return error;
    if (auto error = want(path + ".out.batch", in.batch, out.batch)) return error;
    if (auto error = want(path + ".out.tokens", in.tokens, out.tokens)) return error;
    if (auto error = want(path + ".out.heads", in.heads, out.heads)) return error;
    if (in.heads % tables_of(spec) != 0)
      return invalid(path + ".in.heads", "want a multiple of the spec's " + std::to_string(tables_of(spec)) +
                                             " tables, got " + std::to_string(in.heads));
    if (spec.xpos && role != Role::kQuery && role != Role::kKey)
      return invalid(path + ".role", "want query or key for xPos, got none");
    if (!has_elements(in)) continue;
    if (auto error = check_written(path + ".out", out)) return error;
    if (in.data == out.data && !same_place(in, out))
      return invalid(path + ".out",
                     "want the view of in itself or memory apart from it, got its data in other strides");
  }
  return std::nullopt;
}

template <class View>
std::optional<Error> check_positions(int axes, const HeadsView& model, const View& positions) {
  if (auto error = want_at_least("positions.axes", axes, positions.axes)) return error;
  if (positions.batch != 1)
    if (auto error = want("positions.batch", model.batch, positions.batch)) return error;
  if (auto error = want("positions.tokens", model.tokens, positions.tokens)) return error;
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

std::optional<Error> check_table(const RotarySpec& spec, const CosSinTable& table) {
  if (needs_whole_heads(spec))
    return Error{Code::kUnsupported, "spec", "want a rotation of the same pairs in every head, got " + to_string(spec)};
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

/// Runs part `i` of `parts` of a pass: its share of the items, side by side.
template <class Pass>
void run_part(const Pass& pass, std::int64_t i, std::int64_t parts) noexcept {
  const std::int64_t each = pass.items() / parts, longer = pass.items() % parts;
  const std::int64_t first = i * each + std::min(i, longer);
  pass.run(first, first + each + (i < longer ? 1 : 0));
}

template <class Pass>
void run_on(const Pass& pass, int threads, const ThreadPool* pool) noexcept {
  if (threads == 1) return pass.run(0, pass.items());
  if (pool != nullptr) {
    struct Work {
      const Pass& pass;
      int parts;
    } work{pass, threads};
    return pool->run(
        pool->pool, threads,
        [](void* argument, int i) {
          const Work& mine = *static_cast<const Work*>(argument);
          run_part(mine.pass, i, mine.parts);
        },
        &work);
  }
#pragma omp parallel num_threads(threads)
  run_part(pass, omp_get_thread_num(), omp_get_num_threads());
}

bool nothing_to_do(std::span<const RotaryOperand> operands) noexcept {
  return std::none_of(operands.begin(), operands.end(), [](const auto& x) { return has_elements(x.in); });
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
