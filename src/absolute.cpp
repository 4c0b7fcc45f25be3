// Where absolute positions meet kernels: sinusoids and learned rows on one side, embeddings in memory on the other.
#include <ropewalk/absolute.hpp>

#include "cpu/dispatch.hpp"
#include "math/absolute/absolute.hpp"
#include "threads.hpp"
#include "view_checks.hpp"

#include <algorithm>
#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>

namespace ropewalk {
namespace {

std::optional<Error> check_embeddings(const Path& path, const EmbeddingsView& x, std::int64_t dim) {
  if (auto error = check_dtype(path, x.dtype)) return error;
  if (auto error = want(path + ".dim", dim, x.dim)) return error;
  if (auto error = want_at_least(path + ".batch", 0, x.batch)) return error;
  if (auto error = want_at_least(path + ".tokens", 0, x.tokens)) return error;
  if (x.batch == 0 || x.tokens == 0) return std::nullopt;
  return check_storage(path, x);
}

bool is_empty(const EmbeddingsView& x) noexcept { return x.batch == 0 || x.tokens == 0; }

std::optional<Error> check_pair(const EmbeddingsView& in, const EmbeddingsView& out, std::int64_t dim) {
  if (auto error = check_embeddings("in", in, dim)) return error;
  if (auto error = check_embeddings("out", out, dim)) return error;
  if (out.dtype != in.dtype)
    return invalid("out.dtype", "want " + std::string(name_of(in.dtype)) + ", got " + std::string(name_of(out.dtype)));
  if (auto error = want("out.batch", in.batch, out.batch)) return error;
  if (auto error = want("out.tokens", in.tokens, out.tokens)) return error;
  if (is_empty(in)) return std::nullopt;
  if (out.batch > 1 && out.batch_stride == 0)
    return invalid("out.batch_stride",
                   "want a stride other than 0 on an axis of " + std::to_string(out.batch) + " that is written, got 0");
  if (out.tokens > 1 && out.token_stride == 0)
    return invalid("out.token_stride", "want a stride other than 0 on an axis of " + std::to_string(out.tokens) +
                                           " that is written, got 0");
  const auto same = [](std::int64_t size, std::int64_t a, std::int64_t b) { return size <= 1 || a == b; };
  if (in.data == out.data &&
      !(same(in.batch, in.batch_stride, out.batch_stride) && same(in.tokens, in.token_stride, out.token_stride)))
    return invalid("out", "want the view of in itself or memory apart from it, got its data in other strides");
  return std::nullopt;
}

template <class View>
std::optional<Error> check_positions(int axes, const EmbeddingsView& x, const View& positions) {
  if (auto error = want_at_least("positions.axes", axes, positions.axes)) return error;
  if (positions.batch != 1)
    if (auto error = want("positions.batch", x.batch, positions.batch)) return error;
  if (auto error = want("positions.tokens", x.tokens, positions.tokens)) return error;
  if (!is_empty(x) && positions.data == nullptr) return invalid("positions.data", "want an address, got null");
  return std::nullopt;
}

std::int64_t wrapping_sum(std::int64_t a, std::int64_t b) noexcept {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
}

/// Adds rows of floats to embeddings, token by token, a stretch of channels after the other.
class RowWriter {
 public:
  RowWriter(const EmbeddingsView* in, const EmbeddingsView& out, float scale) noexcept
      : in_(in), out_(out), scale_(scale), add_row_(cpu::active_target().kernels->add_row[index(out.dtype)]) {}

  static std::size_t index(DType dtype) noexcept { return static_cast<std::size_t>(dtype); }

  /// Channels [first, first + count) of a token from row[0, count).
  void write(std::int64_t batch, std::int64_t token, std::int64_t first, std::int64_t count,
             const float* row) const noexcept {
    add_row_(in_ == nullptr ? nullptr : place(*in_, batch, token, first), scale_, row, count,
             place(out_, batch, token, first));
  }

  static char* place(const EmbeddingsView& x, std::int64_t batch, std::int64_t token, std::int64_t channel) noexcept {
    const std::int64_t element = batch * x.batch_stride + token * x.token_stride + channel;
    return static_cast<char*>(x.data) + element * static_cast<std::int64_t>(size_of(x.dtype));
  }

 private:
  const EmbeddingsView* in_;
  const EmbeddingsView& out_;
  float scale_;
  cpu::KernelTable::AddRow add_row_;
};

constexpr std::int64_t kChunk = 512;  // pairs whose cosines and sines stand on the stack at once
constexpr float kZero = 0.0f;

/// The rows of sinusoids of a batch, shared out by tokens.
template <class View>
class SinusoidPass {
 public:
  static constexpr bool kWhole = std::is_same_v<View, PositionsView>;

  SinusoidPass(const SinusoidalSpec& spec, std::span<const Turns> turns_per_token,
               std::span<const TurnsPerUnit> turns_per_unit, const View& positions, const EmbeddingsView* in,
               const EmbeddingsView& out, float scale) noexcept
      : spec_(spec),
        turns_per_token_(turns_per_token),
        turns_per_unit_(turns_per_unit),
        positions_(positions),
        kernels_(*cpu::active_target().kernels),
        gain_(cpu::Gain::of(spec.gain, false)),
        batch_(out.batch),
        tokens_(out.tokens),
        writer_(in, out, scale) {}

  std::int64_t items() const noexcept { return tokens_; }

  void run(std::int64_t first, std::int64_t end) const noexcept {
    const bool shared = positions_.batch == 1 || positions_.batch_stride == 0;
    for (std::int64_t token = first; token < end; ++token)
      for (std::int64_t batch = 0; batch < (shared ? 1 : batch_); ++batch)
        write_token(batch, shared ? batch_ : batch + 1, token);
  }

 private:
  // Rows [batch, batch_end) stand at the same position.
  void write_token(std::int64_t batch, std::int64_t batch_end, std::int64_t token) const noexcept {
    const std::int64_t channels = spec_.dim / spec_.axes, half = channels / 2;
    for (int axis = 0; axis < spec_.axes; ++axis) {
      const auto position =
          positions_
              .data[axis * positions_.axis_stride + batch * positions_.batch_stride + token * positions_.token_stride];
      for (std::int64_t pair = 0; pair < half; pair += kChunk)
        write_pairs(batch, batch_end, token, axis, position, pair, std::min(kChunk, half - pair));
      if (channels % 2 != 0) write(batch, batch_end, token, (axis + 1) * channels - 1, 1, &kZero);
    }
  }

  template <class Position>
  void write_pairs(std::int64_t batch, std::int64_t batch_end, std::int64_t token, int axis, Position position,
                   std::int64_t first, std::int64_t count) const noexcept {
    alignas(64) float cos[kChunk], sin[kChunk], both[2 * kChunk];
    const auto j = static_cast<std::size_t>(first);
    if constexpr (kWhole) {
      const std::int64_t at = wrapping_sum(position, spec_.position_offset);
      if (spec_.zero_position == at) {
        std::fill_n(cos, count, 0.0f);
        std::fill_n(sin, count, 0.0f);
      } else {
        kernels_.cos_sin_at(at, &turns_per_token_[j], count, gain_, cos, sin);
      }
    } else {
      alignas(64) Turns turns[kChunk];
      for (std::int64_t k = 0; k < count; ++k)
        turns[k] = phase(static_cast<double>(position), turns_per_unit_[j + static_cast<std::size_t>(k)]);
      kernels_.cos_sin_of(turns, count, gain_, cos, sin);
    }

    const std::int64_t channels = spec_.dim / spec_.axes, half = channels / 2;
    const bool cos_first =
        spec_.order == SinusoidOrder::kInterleavedCosFirst || spec_.order == SinusoidOrder::kConcatenatedCosFirst;
    const float *const a = cos_first ? cos : sin, *const b = cos_first ? sin : cos;
    if (spec_.order == SinusoidOrder::kInterleaved || spec_.order == SinusoidOrder::kInterleavedCosFirst) {
      for (std::int64_t k = 0; k < count; ++k) {
        both[2 * k] = a[k];
        both[2 * k + 1] = b[k];
      }
      return write(batch, batch_end, token, axis * channels + 2 * first, 2 * count, both);
    }
    const std::int64_t of_axis = spec_.sines_of_all_axes_first ? half : channels;
    const std::int64_t to_second = spec_.sines_of_all_axes_first ? spec_.axes * half : half;
    write(batch, batch_end, token, axis * of_axis + first, count, a);
    write(batch, batch_end, token, axis * of_axis + to_second + first, count, b);
  }

  void write(std::int64_t batch, std::int64_t batch_end, std::int64_t token, std::int64_t first, std::int64_t count,
             const float* row) const noexcept {
    for (; batch < batch_end; ++batch) writer_.write(batch, token, first, count, row);
  }

  const SinusoidalSpec& spec_;
  std::span<const Turns> turns_per_token_;
  std::span<const TurnsPerUnit> turns_per_unit_;
  const View& positions_;
  const cpu::KernelTable& kernels_;
  cpu::Gain gain_;
  std::int64_t batch_, tokens_;
  RowWriter writer_;
};

double elements_of(const EmbeddingsView& x) noexcept {
  return static_cast<double>(x.batch) * static_cast<double>(x.tokens) * static_cast<double>(x.dim);
}

std::int64_t row_of(const LearnedTable& table, const PositionsView& positions, std::int64_t batch,
                    std::int64_t token) noexcept {
  const std::int64_t row = positions.batch == 1 ? 0 : batch * positions.batch_stride;
  return wrapping_sum(positions.data[row + token * positions.token_stride], table.position_offset);
}

/// Learned rows, shared out by tokens.
class LearnedPass {
 public:
  LearnedPass(const LearnedTable& table, const PositionsView& positions, const EmbeddingsView* in,
              const EmbeddingsView& out, float scale) noexcept
      : table_(table),
        positions_(positions),
        accumulate_(cpu::active_target().kernels->accumulate_row[RowWriter::index(table.dtype)]),
        batch_(out.batch),
        tokens_(out.tokens),
        writer_(in, out, scale) {}

  std::int64_t items() const noexcept { return tokens_; }

  void run(std::int64_t first, std::int64_t end) const noexcept {
    for (std::int64_t batch = 0; batch < batch_; ++batch)
      for (std::int64_t token = first; token < end; ++token) {
        const std::int64_t element = row_of(table_, positions_, batch, token) * table_.row_stride;
        const char* const row =
            static_cast<const char*>(table_.data) + element * static_cast<std::int64_t>(size_of(table_.dtype));
        for (std::int64_t channel = 0; channel < table_.dim; channel += kChunk)
          write(batch, token, channel, std::min(kChunk, table_.dim - channel), row);
      }
  }

 private:
  void write(std::int64_t batch, std::int64_t token, std::int64_t channel, std::int64_t count,
             const char* row) const noexcept {
    const char* const at = row + channel * static_cast<std::int64_t>(size_of(table_.dtype));
    if (table_.dtype == DType::kFloat32)
      return writer_.write(batch, token, channel, count, reinterpret_cast<const float*>(at));
    alignas(64) float wide[kChunk] = {};
    accumulate_(at, 1.0f, count, wide);
    writer_.write(batch, token, channel, count, wide);
  }

  const LearnedTable& table_;
  const PositionsView& positions_;
  cpu::KernelTable::AccumulateRow accumulate_;
  std::int64_t batch_, tokens_;
  RowWriter writer_;
};

/// The way back, shared out by channels, so that every sum has one order.
class LearnedGradientPass {
 public:
  LearnedGradientPass(const LearnedTable& table, const EmbeddingsView& d_out, const PositionsView& positions,
                      std::span<float> d_table) noexcept
      : table_(table),
        d_out_(d_out),
        positions_(positions),
        d_table_(d_table),
        accumulate_(cpu::active_target().kernels->accumulate_row[RowWriter::index(d_out.dtype)]) {}

  std::int64_t items() const noexcept { return table_.dim; }

  void run(std::int64_t first, std::int64_t end) const noexcept {
    for (std::int64_t batch = 0; batch < d_out_.batch; ++batch)
      for (std::int64_t token = 0; token < d_out_.tokens; ++token)
        accumulate_(RowWriter::place(d_out_, batch, token, first), 1.0f, end - first,
                    d_table_.data() + row_of(table_, positions_, batch, token) * table_.dim + first);
  }

 private:
  const LearnedTable& table_;
  const EmbeddingsView& d_out_;
  const PositionsView& positions_;
  std::span<float> d_table_;
  cpu::KernelTable::AccumulateRow accumulate_;
};

template <class Pass>
void run_pass(const Pass& pass, const EmbeddingsView& x, const AbsoluteCall& call) noexcept {
  if (is_empty(x)) return;
  run_on(pass, threads_for_elements(elements_of(x), call.threads, call.pool), call.pool);
}

std::optional<Error> check_rows(const LearnedTable& table, const EmbeddingsView& x, const PositionsView& positions) {
  if (auto error = check_positions(1, x, positions)) return error;
  if (is_empty(x)) return std::nullopt;
  for (std::int64_t batch = 0; batch < positions.batch; ++batch)
    for (std::int64_t token = 0; token < positions.tokens; ++token)
      if (const std::int64_t row = row_of(table, positions, batch, token); row < 0 || row >= table.rows)
        return invalid(
            "positions[" + std::to_string(batch) + ", " + std::to_string(token) + ']',
            "want a row of the table, " + std::to_string(-table.position_offset) + " to " +
                std::to_string(table.rows - 1 - table.position_offset) + ", got " +
                std::to_string(positions.data[batch * positions.batch_stride + token * positions.token_stride]));
  return std::nullopt;
}

// Within these the sums of an offset and a row fit an int64.
constexpr std::int64_t kMostRows = std::int64_t{1} << 40;

std::optional<Error> check_table(const LearnedTable& table, bool reads) {
  if (table.rows < 0 || table.rows > kMostRows)
    return invalid("table.rows", "want a number in [0, 2^40], got " + std::to_string(table.rows));
  if (table.dim < 1 || table.dim > (1 << 24))
    return invalid("table.dim", "want a number in [1, 2^24], got " + std::to_string(table.dim));
  if (table.position_offset < -kMostRows || table.position_offset > kMostRows)
    return invalid("table.position_offset",
                   "want a number within 2^40 of 0, got " + std::to_string(table.position_offset));
  if (!reads) return std::nullopt;
  if (static_cast<unsigned>(table.dtype) > static_cast<unsigned>(DType::kFloat16))
    return invalid("table.dtype",
                   "want float32, bfloat16 or float16, got number " + std::to_string(static_cast<int>(table.dtype)));
  if (auto error = want_at_least("table.row_stride", table.rows > 1 ? table.dim : 0, table.row_stride)) return error;
  if (table.rows == 0) return std::nullopt;
  if (table.data == nullptr) return invalid("table.data", "want an address, got null");
  if (reinterpret_cast<std::uintptr_t>(table.data) % size_of(table.dtype) != 0)
    return invalid("table.data", "want an address that " + std::to_string(size_of(table.dtype)) + " divides, as a " +
                                     std::string(name_of(table.dtype)) + " needs");
  return std::nullopt;
}

}  // namespace

Result<Sinusoidal> Sinusoidal::make(const SinusoidalSpec& spec) {
  if (auto error = math::check_spec(spec)) return *std::move(error);
  if (std::string refused = cpu::target_error(); !refused.empty())
    return Error{Code::kUnavailable, "ROPEWALK_TARGET", std::move(refused)};
  Sinusoidal sinusoidal;
  sinusoidal.spec_ = spec;
  math::SinusoidSpeeds speeds = math::speeds_of(spec);
  sinusoidal.inv_freq_ = std::move(speeds.inv_freq);
  sinusoidal.turns_per_token_ = std::move(speeds.turns_per_token);
  sinusoidal.turns_per_unit_ = std::move(speeds.turns_per_unit);
  return sinusoidal;
}

std::optional<Error> Sinusoidal::check(const EmbeddingsView& in, const EmbeddingsView& out,
                                       const PositionsView& positions) const {
  if (auto error = check_pair(in, out, spec_.dim)) return error;
  return check_positions(spec_.axes, out, positions);
}

std::optional<Error> Sinusoidal::check(const EmbeddingsView& in, const EmbeddingsView& out,
                                       const CoordinatesView& positions) const {
  if (auto error = check_pair(in, out, spec_.dim)) return error;
  return check_positions(spec_.axes, out, positions);
}

void Sinusoidal::fill(const EmbeddingsView& out, const PositionsView& positions,
                      const AbsoluteCall& call) const noexcept {
  run_pass(SinusoidPass(spec_, turns_per_token_, turns_per_unit_, positions, nullptr, out, 1.0f), out, call);
}

void Sinusoidal::fill(const EmbeddingsView& out, const CoordinatesView& positions,
                      const AbsoluteCall& call) const noexcept {
  run_pass(SinusoidPass(spec_, turns_per_token_, turns_per_unit_, positions, nullptr, out, 1.0f), out, call);
}

void Sinusoidal::add(const EmbeddingsView& in, const EmbeddingsView& out, const PositionsView& positions,
                     const AbsoluteCall& call) const noexcept {
  run_pass(SinusoidPass(spec_, turns_per_token_, turns_per_unit_, positions, &in, out, call.embedding_scale), out,
           call);
}

void Sinusoidal::add(const EmbeddingsView& in, const EmbeddingsView& out, const CoordinatesView& positions,
                     const AbsoluteCall& call) const noexcept {
  run_pass(SinusoidPass(spec_, turns_per_token_, turns_per_unit_, positions, &in, out, call.embedding_scale), out,
           call);
}

std::optional<Error> check_learned(const LearnedTable& table, const EmbeddingsView& in, const EmbeddingsView& out,
                                   const PositionsView& positions) {
  if (auto error = check_table(table, true)) return error;
  if (auto error = check_pair(in, out, table.dim)) return error;
  return check_rows(table, out, positions);
}

void fill_learned(const LearnedTable& table, const EmbeddingsView& out, const PositionsView& positions,
                  const AbsoluteCall& call) noexcept {
  run_pass(LearnedPass(table, positions, nullptr, out, 1.0f), out, call);
}

void add_learned(const LearnedTable& table, const EmbeddingsView& in, const EmbeddingsView& out,
                 const PositionsView& positions, const AbsoluteCall& call) noexcept {
  run_pass(LearnedPass(table, positions, &in, out, call.embedding_scale), out, call);
}

std::optional<Error> add_learned_gradient(const LearnedTable& table, const EmbeddingsView& d_out,
                                          const PositionsView& positions, std::span<float> d_table,
                                          const AbsoluteCall& call) {
  if (auto error = check_table(table, false)) return error;
  if (auto error = check_embeddings("d_out", d_out, table.dim)) return error;
  if (auto error = check_rows(table, d_out, positions)) return error;
  if (auto error = want("d_table.size", table.rows * table.dim, static_cast<std::int64_t>(d_table.size())))
    return error;
  run_pass(LearnedGradientPass(table, d_out, positions, d_table), d_out, call);
  return std::nullopt;
}

}  // namespace ropewalk
