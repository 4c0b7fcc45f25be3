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

int threads_for(std::span<const RotaryOperand> operands, int wanted) noexcept {
  if (wanted == 1 || omp_in_parallel()) return 1;
  double elements = 0;  // a product of four int64 need not fit one
  for (const RotaryOperand& operand : operands)
    elements += static_cast<double>(operand.in.batch) * static_cast<double>(operand.in.tokens) *
                static_cast<double>(operand.in.heads) * static_cast<double>(operand.in.head_dim);
  const double worth = elements / static_cast<double>(kElementsPerThread);
  const int most = wanted > 0 ? wanted : omp_get_max_threads();
  return worth >= most ? most : std::max(1, static_cast<int>(worth));
}

template <class View>
std::optional<Error> check_call(const RotarySpec& spec, std::span<const RotaryOperand> operands,
                                const View& positions) {
  if (operands.empty()) return std::nullopt;
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
  if (auto error = want_at_least("positions.axes", spec.axes(), positions.axes)) return error;
  if (positions.batch != 1)
    if (auto error = want("positions.batch", model.batch, positions.batch)) return error;
  if (auto error = want("positions.tokens", model.tokens, positions.tokens)) return error;
  if (model.tokens > 0 && positions.data == nullptr) return invalid("positions.data", "want an address, got null");
  return std::nullopt;
}

/// Runs a pass on so many threads, each with its share of the items side by side.
template <class Pass>
void run_on(const Pass& pass, int threads) noexcept {
  const std::int64_t items = pass.items();
  if (threads == 1) return pass.run(0, items);
#pragma omp parallel num_threads(threads)
  {
    const std::int64_t team = omp_get_num_threads(), me = omp_get_thread_num();
    const std::int64_t each = items / team, longer = items % team;
    const std::int64_t first = me * each + std::min(me, longer);
    pass.run(first, first + each + (me < longer ? 1 : 0));
  }
}

template <class View>
void apply_call(const RotarySpec& spec, const Frequencies& frequencies, const RotaryChannels& channels,
                std::span<const RotaryOperand> operands, const View& positions, const RotaryCall& call) noexcept {
  if (std::none_of(operands.begin(), operands.end(), [](const auto& x) { return has_elements(x.in); })) return;
  const int threads = threads_for(operands, call.threads);
  if (needs_whole_heads(spec))
    run_on(WholeHeadPass<View>(spec, frequencies, channels, operands, positions, call.direction), threads);
  else
    run_on(TilePass<View>(spec, frequencies, operands, positions, call.direction, threads), threads);
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

void Rotary::apply(std::span<const RotaryOperand> operands, const PositionsView& positions,
                   const RotaryCall& call) const noexcept {
  apply_call(spec_, frequencies_, channels_, operands, positions, call);
}

void Rotary::apply(std::span<const RotaryOperand> operands, const CoordinatesView& positions,
                   const RotaryCall& call) const noexcept {
  apply_call(spec_, frequencies_, channels_, operands, positions, call);
}

}  // namespace ropewalk
