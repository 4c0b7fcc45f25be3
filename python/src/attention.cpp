// Attention over arrays of Python's: forward, and backward with the gradient of what a bias learned.
#include <ropewalk/attention.hpp>
#include <ropewalk/bias.hpp>
#include <ropewalk/score_fill.hpp>

#include "arrays.hpp"
#include "lock.hpp"
#include "numbers.hpp"
#include "rooms.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <atomic>
#include <cmath>
#include <cstddef>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace ropewalk::python {
namespace nb = nanobind;
using namespace nb::literals;
namespace {

// Sums of a bias' gradient are kept for every part of the backward pass, so that their bits do not depend on threads,
// as long as they are no more numbers than this.
constexpr std::size_t kMostSums = std::size_t{1} << 24;

float* floats_of(const Array& array, const std::string& name, const std::int64_t (&want)[3]) {
  const bool fits =
      array.dims() == 3 && array.size(0) == want[0] && array.size(1) == want[1] && array.size(2) == want[2];
  if (!fits)
    refuse(name, "want [" + std::to_string(want[0]) + ", " + std::to_string(want[1]) + ", " + std::to_string(want[2]) +
                     "] (batch, heads, tokens), got " + array.shape());
  if (array.element() != Element::kFloat32) refuse(name, "want float32, got " + array.dtype());
  std::int64_t stride = 1;
  for (std::size_t axis = 3; axis-- > 0; stride *= array.size(axis))
    if (array.size(axis) > 1 && array.stride(axis) != stride && array.elements() > 0)
      refuse(name, "want it contiguous, got strides");
  return static_cast<float*>(array.data());
}

// What a call is told beside its arrays.
struct Options {
  const char* layout;
  double softmax_scale;
  std::optional<std::int64_t> left, right;
  nb::handle query_starts, key_starts, temperature, bias;
  std::int64_t first_position;
  int threads;
};

/// An Attention and all that it points to.
class HeldAttention {
 public:
  HeldAttention(nb::handle q, nb::handle k, nb::handle v, const Options& options)
      : order_(order_named(options.layout)), threads_(options.threads) {
    if (threads_ < 0) refuse("threads", "want a number >= 0, got " + std::to_string(threads_));
    attention.q = read(q, "q");
    attention.k = read(k, "k");
    attention.v = read(v, "v");
    attention.softmax_scale = options.softmax_scale;
    attention.mask = {options.left.value_or(AttentionMask::kUnlimited),
                      options.right.value_or(AttentionMask::kUnlimited)};
    if (!options.query_starts.is_none()) query_starts_ = whole_numbers(options.query_starts, "query_starts");
    if (!options.key_starts.is_none()) key_starts_ = whole_numbers(options.key_starts, "key_starts");
    attention.query_starts = query_starts_;
    attention.key_starts = key_starts_;
    if (!options.temperature.is_none()) {
      temperature_ = numbers_of<float>(options.temperature, "temperature", {attention.q.batch, attention.q.tokens});
      const std::int64_t tokens = attention.q.tokens, all = attention.q.batch * tokens;
      const auto given = static_cast<std::int64_t>(temperature_.size());
      if (given != tokens && given != all)
        refuse("temperature", "want " + std::to_string(tokens) + " numbers, or " + std::to_string(all) + ", got " +
                                  std::to_string(given));
      attention.temperature = temperature_.data();
      attention.temperature_batch_stride = given == tokens ? 0 : tokens;
    }
    if (!options.bias.is_none()) {
      if (!nb::try_cast(options.bias, fill_.bias)) refuse("bias", "want a ScoreBias or None, got another thing");
      fill_.first_position = options.first_position;
      attention.bias = score_fill(fill_);
    }
  }

  HeadsView read(nb::handle object, const std::string& name) {
    held_.push_back(Array::to_read(object, name));
    return heads_of(held_.back(), order_, name);
  }
  HeadsView write(nb::handle object, const std::string& name) {
    held_.push_back(Array::to_write(object, name));
    return heads_of(held_.back(), order_, name);
  }
  float* per_query(nb::handle object, const std::string& name, bool written) {
    held_.push_back(written ? Array::to_write(object, name) : Array::to_read(object, name));
    return floats_of(held_.back(), name, {attention.q.batch, attention.q.heads, attention.q.tokens});
  }
  void check_bias() const {
    if (fill_.bias != nullptr) refuse_if(check_fill(fill_, attention));
  }
  const BiasFill& bias() const noexcept { return fill_; }

  AttentionCall call(std::int64_t bytes) {
    workspace_.reset(new std::byte[static_cast<std::size_t>(bytes)]);
    return {.threads = threads_, .workspace = {workspace_.get(), static_cast<std::size_t>(bytes)}};
  }

  Attention attention;

 private:
  Order order_;
  int threads_;
  std::vector<Array> held_;
  std::vector<std::int64_t> query_starts_, key_starts_;
  std::vector<float> temperature_;
  BiasFill fill_;
  std::unique_ptr<std::byte[]> workspace_;
};

void attend_into(nb::handle q, nb::handle k, nb::handle v, nb::handle out, nb::handle log_sum_exp,
                 const Options& options) {
  HeldAttention held(q, k, v, options);
  Attention& attention = held.attention;
  attention.out = held.write(out, "out");
  if (!log_sum_exp.is_none()) attention.log_sum_exp = held.per_query(log_sum_exp, "log_sum_exp", true);
  const AttentionCall call = held.call(attention_workspace(attention, options.threads));
  refuse_if(check_attention(attention, call));
  held.check_bias();
  const OthersMayRun others_may_run;
  attend(attention, call);
}

/// The gradient of a bias' numbers, summed for each part of the backward pass.
class BiasSums {
 public:
  BiasSums(const BiasFill& fill, std::size_t parts)
      : fill_(fill), count_(fill.bias->parameter_count()), one_for_all_(parts * count_ > kMostSums) {
    sums_.resize(one_for_all_ ? count_ : parts * count_);
  }
  /// Where parts share their sums, one thread has to bring all blocks.
  bool one_for_all() const noexcept { return one_for_all_; }
  ScoreGradient gradient() noexcept { return {this, add}; }

  void add_to(std::span<double> total) const {
    if (failed_) throw std::bad_alloc();
    for (std::size_t i = 0; i < sums_.size(); ++i) total[i % count_] += sums_[i];
  }

 private:
  static void add(void* state, const ScoreGradientBlock& block) {
    auto& self = *static_cast<BiasSums*>(state);
    const std::span<double> sums =
        std::span(self.sums_)
            .subspan(self.one_for_all_ ? 0 : static_cast<std::size_t>(block.part) * self.count_, self.count_);
    try {
      self.fill_.bias->add_gradient_head(static_cast<int>(block.head),
                                         BiasAxis::range(self.fill_.first_position + block.first_query, block.queries),
                                         BiasAxis::range(self.fill_.first_position + block.first_key, block.keys),
                                         {block.d_score, 0, block.stride, 1}, sums);
    } catch (const std::bad_alloc&) {
      self.failed_ = true;
    }
  }

  const BiasFill& fill_;
  std::size_t count_;
  bool one_for_all_;
  std::vector<double> sums_;
  std::atomic<bool> failed_{false};
};

void attend_backward_into(nb::handle q, nb::handle k, nb::handle v, nb::handle out, nb::handle log_sum_exp,
                          nb::handle d_out, nb::handle d_q, nb::handle d_k, nb::handle d_v, nb::handle d_parameters,
                          const Options& options) {
  HeldAttention held(q, k, v, options);
  Attention& attention = held.attention;
  attention.out = held.read(out, "out");
  attention.log_sum_exp = held.per_query(log_sum_exp, "log_sum_exp", false);
  AttentionGradients gradients{.d_out = held.read(d_out, "d_out"),
                               .d_q = held.write(d_q, "d_q"),
                               .d_k = held.write(d_k, "d_k"),
                               .d_v = held.write(d_v, "d_v")};
  std::optional<BiasSums> sums;
  Array flat;
  if (!d_parameters.is_none()) {
    flat = Array::to_write(d_parameters, "d_parameters");
    if (held.bias().bias == nullptr) refuse("d_parameters", "want none without a bias, got an array");
    const auto count = static_cast<std::int64_t>(held.bias().bias->parameter_count());
    if (flat.element() != Element::kFloat64 || flat.dims() != 1 || flat.size(0) != count ||
        (count > 1 && flat.stride(0) != 1))
      refuse("d_parameters",
             "want float64 [" + std::to_string(count) + "], contiguous, got " + flat.dtype() + ' ' + flat.shape());
    if (count > 0) {
      sums.emplace(held.bias(), static_cast<std::size_t>(score_gradient_parts(attention)));
      gradients.d_score = sums->gradient();
    }
  }
  AttentionCall call = held.call(attention_backward_workspace(attention, options.threads));
  if (sums && sums->one_for_all()) call.threads = 1;
  refuse_if(check_attention_backward(attention, gradients, call));
  held.check_bias();
  {
    const OthersMayRun others_may_run;
    attend_backward(attention, gradients, call);
  }
  if (sums) sums->add_to({static_cast<double*>(flat.data()), static_cast<std::size_t>(flat.size(0))});
}

}  // namespace

void bind_attention(nb::module_& m) {
  m.def(
      "attend_into",
      [](nb::handle q, nb::handle k, nb::handle v, nb::handle out, nb::handle log_sum_exp, double softmax_scale,
         std::optional<std::int64_t> left, std::optional<std::int64_t> right, nb::handle query_starts,
         nb::handle key_starts, nb::handle temperature, nb::handle bias, std::int64_t first_position,
         const char* layout, int threads) {
        attend_into(
            q, k, v, out, log_sum_exp,
            {layout, softmax_scale, left, right, query_starts, key_starts, temperature, bias, first_position, threads});
      },
      "q"_a, "k"_a, "v"_a, "out"_a, "log_sum_exp"_a.none(), nb::kw_only(), "softmax_scale"_a, "left"_a = nb::none(),
      "right"_a = nb::none(), "query_starts"_a = nb::none(), "key_starts"_a = nb::none(), "temperature"_a = nb::none(),
      "bias"_a = nb::none(), "first_position"_a = 0, "layout"_a = "bshd", "threads"_a = 0,
      "Writes out, and log_sum_exp (float32 [batch, heads, tokens]) if it is not None: attention.attend.");
  m.def(
      "attend_backward_into",
      [](nb::handle q, nb::handle k, nb::handle v, nb::handle out, nb::handle log_sum_exp, nb::handle d_out,
         nb::handle d_q, nb::handle d_k, nb::handle d_v, nb::handle d_parameters, double softmax_scale,
         std::optional<std::int64_t> left, std::optional<std::int64_t> right, nb::handle query_starts,
         nb::handle key_starts, nb::handle temperature, nb::handle bias, std::int64_t first_position,
         const char* layout, int threads) {
        attend_backward_into(
            q, k, v, out, log_sum_exp, d_out, d_q, d_k, d_v, d_parameters,
            {layout, softmax_scale, left, right, query_starts, key_starts, temperature, bias, first_position, threads});
      },
      "q"_a, "k"_a, "v"_a, "out"_a, "log_sum_exp"_a, "d_out"_a, "d_q"_a, "d_k"_a, "d_v"_a, "d_parameters"_a.none(),
      nb::kw_only(), "softmax_scale"_a, "left"_a = nb::none(), "right"_a = nb::none(), "query_starts"_a = nb::none(),
      "key_starts"_a = nb::none(), "temperature"_a = nb::none(), "bias"_a = nb::none(), "first_position"_a = 0,
      "layout"_a = "bshd", "threads"_a = 0,
      "Writes d_q, d_k and d_v, and adds to d_parameters (float64, as ScoreBias.add_gradient): "
      "attention.attend_backward.");
}

}  // namespace ropewalk::python
