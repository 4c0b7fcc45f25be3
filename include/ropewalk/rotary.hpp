#pragma once

#include <ropewalk/frequencies.hpp>
#include <ropewalk/positions.hpp>
#include <ropewalk/result.hpp>
#include <ropewalk/spec.hpp>
#include <ropewalk/table.hpp>
#include <ropewalk/tensor.hpp>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace ropewalk {

/// Which way, and with what gain. m is the attention factor (1 for most encodings); a spec with clockwise set turns
/// every one of these the other way.
enum class Direction : std::uint8_t {
  kForward = 0,    ///< y = m R(p) x
  kInverse = 1,    ///< y = R(-p) x / m: undoes kForward; not finite if m is 0
  kTranspose = 2,  ///< y = m R(-p) x: the gradient of kForward
  kShift = 3,      ///< y = R(p) x: moves keys that are already rotated by p positions, gain 1
};
// For a spec that is no rotation (RotarySpec::is_rotation), R(-p) is the true inverse under kInverse and the transpose
// under kTranspose. kShift moves xPos keys rightly; it cannot move what has a second angle or a Fourier mix.
// With an output_layout of its own kInverse and kTranspose read that layout and write `layout`, and kShift reads and
// writes it.

/// Which of a score's two vectors an operand is. Only xPos asks.
enum class Role : std::uint8_t { kUnset = 0, kQuery = 1, kKey = 2 };

/// What is to be turned and where the result goes. In place when both views are the same.
/// `in` and `out` have equal dtype, batch, tokens, heads and head_dim; their strides may differ. They may be one and
/// the same view but must not overlap otherwise. Channels that do not turn keep their bits, a NaN's payload included;
/// among those that turn a NaN stays a NaN.
struct RotaryOperand {
  HeadsView in;   ///< read
  HeadsView out;  ///< written whole, the channels that do not turn included (they are copied bit for bit)
  Role role = Role::kUnset;

  static RotaryOperand in_place(const HeadsView& x, Role role = Role::kUnset) noexcept { return {x, x, role}; }
};

/// A caller's own threads, to be used instead of OpenMP's.
struct ThreadPool {
  /// Calls part(argument, i) once for every i in [0, parts), on any threads, at once or one after the other, and
  /// returns when all have returned. Must not throw.
  void (*run)(void* pool, int parts, void (*part)(void* argument, int i), void* argument) = nullptr;
  void* pool = nullptr;  ///< handed back to `run`
};

struct RotaryCall {
  Direction direction = Direction::kForward;
  /// Most threads to use, the caller's included; 0 for one a core. Small work stays on the caller, and so does all work
  /// of a caller that is in a parallel region of OpenMP itself. The bits do not depend on it.
  int threads = 1;
  const ThreadPool* pool = nullptr;  ///< OpenMP's threads if null
};

/// The prepared operator: made once from a spec, then applied to any batch by any number of threads at once.
/// Immutable. Copies share nothing mutable. Holds no table: phases are formed as they are needed.
class Rotary {
 public:
  /// running_length as in make_frequencies.
  /// Errors: those of validate and make_frequencies; kUnavailable if the environment variable ROPEWALK_TARGET names a
  /// CPU target that is not in this build or does not run on this processor.
  static Result<Rotary> make(const RotarySpec& spec, std::int64_t running_length = 0);

  const RotarySpec& spec() const noexcept { return spec_; }
  const Frequencies& frequencies() const noexcept { return frequencies_; }

  /// What is wrong with a call, or nothing: head_dim, dtypes, shapes of in and out, axes, batch and tokens of the
  /// positions, addresses that are null or not aligned to an element, an output that repeats itself (stride 0). Other
  /// overlaps are not found. Every operand has the same batch and tokens. Paths: "operands[1].out.heads",
  /// "positions.tokens".
  [[nodiscard]] std::optional<Error> check(std::span<const RotaryOperand> operands,
                                           const PositionsView& positions) const;
  [[nodiscard]] std::optional<Error> check(std::span<const RotaryOperand> operands,
                                           const CoordinatesView& positions) const;

  /// The same for a caller's table. Rows are the positions, one stream; all of them are looked at, for each must be a
  /// row of the table: "positions[2, 17]". Paths of the table: "table.rows", "table.row_stride". kUnsupported (path
  /// "spec") for what the general way turns (an output layout, several tables, no rotation) and (path "direction") for
  /// kInverse and kShift, which would have to know the table's gain.
  [[nodiscard]] std::optional<Error> check(std::span<const RotaryOperand> operands, const CosSinTable& table,
                                           const PositionsView& positions,
                                           Direction direction = Direction::kForward) const;

  /// Turns every operand (q and k together: the phases are formed once for both). Arithmetic is float32,
  /// y0 = fma(x0, cos, -(x1 sin)) and y1 = fma(x1, cos, x0 sin); bf16 and f16 are rounded to nearest even on the way
  /// out. cos and sin (times m) are within 1.2e-7 * max(1, m) of the real-number formula at positions to +-2^36
  /// (numerics kExact); of that the turns take at most 1.2e-8, and the rest stays below 4.5e-8 for m = 1 and
  /// 6.1e-8 * m for larger ones. All has the same bits on every CPU target.
  /// spec().query_temperature is not applied: it is a factor on the queries alone, and the caller's to multiply.
  /// Requires check() to have nothing to say. Never fails or throws; allocates nothing beyond its stack (16 KiB; 48 KiB
  /// where an output_layout, several tables of frequencies or no true rotation are asked for), save what OpenMP keeps
  /// for its threads.
  void apply(std::span<const RotaryOperand> operands, const PositionsView& positions,
             const RotaryCall& call = {}) const noexcept;
  void apply(std::span<const RotaryOperand> operands, const CoordinatesView& positions,
             const RotaryCall& call = {}) const noexcept;

  /// Writes the cosines and sines (times m) that apply() forms at these positions, bit for bit: a table for a caller
  /// whose layers all turn the same tokens. Each is then formed once and not once a layer, which counts where a token
  /// has few heads (docs/bench.md).
  ///
  /// cos, sin  [batch * positions.tokens, pairs] each, row by row of the batch, written whole
  /// Errors: kInvalid for sizes ("cos.size"), axes and tokens; kUnsupported (path "spec") as check with a table.
  std::optional<Error> fill_table(const PositionsView& positions, std::span<float> cos, std::span<float> sin) const;

  /// The same as apply with a caller's cosines and sines instead of this operator's own, whose spec then says no more
  /// than which channels turn: y = (the table's entry) x under kForward, its transpose under kTranspose.
  void apply(std::span<const RotaryOperand> operands, const CosSinTable& table, const PositionsView& positions,
             const RotaryCall& call = {}) const noexcept;

 private:
  Rotary() = default;
  RotarySpec spec_;
  Frequencies frequencies_;
  std::vector<std::int32_t> channels_;  // of the general way: [4, pairs], rotary_whole_heads.hpp; else empty
};

}  // namespace ropewalk
