#include <ropewalk/config.hpp>
#include <ropewalk/frequencies.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numbers>
#include <string>
#include <utility>

namespace ropewalk {
namespace {

std::string shown(double value, const char* format = "%.4g") {
  char text[48];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

// Half a unit in the last place of a float32 at `value`: by how much a product of that size may be off.
double half_ulp(double value) {
  const auto narrow = static_cast<float>(std::abs(value));
  return 0.5 * (static_cast<double>(std::nextafter(narrow, HUGE_VALF)) - static_cast<double>(narrow));
}

class Hazards {
 public:
  Hazards(const CheckpointPositions& positions, std::int64_t length) : positions_(positions), length_(length) {}

  std::vector<Hazard> list() {
    bool turns = false;
    for (const LayerKind& kind : positions_.kinds)
      if (kind.spec) {
        turns = true;
        of_kind(kind.name, *kind.spec);
      } else if (kind.unrotated_query_temperature) {
        temperature(kind.name, *kind.unrotated_query_temperature);
      }
    if (turns && length_ > 256)
      say("",
          "positions counted in bfloat16 are exact only to 256, in float16 to 2048: tables and angles need float32 or "
          "better");
    return std::move(found_);
  }

 private:
  void say(const std::string& kind, std::string message) { found_.push_back({kind, std::move(message)}); }

  void of_kind(const std::string& name, RotarySpec spec) {
    spec.numerics = Numerics::kExact;
    const Result<Frequencies> frequencies = make_frequencies(spec, length_);
    if (!frequencies) return;
    phase_error(name, *frequencies);
    unfinished(name, spec);
    beyond(name, spec);
    factors(name, spec, *frequencies);
    if (depends_on_length(spec.scaling))
      say(name, "frequencies move with the running length (" + std::string(name_of(spec.scaling)) +
                    "): keys cached under another length must be re-rotated, or one length kept for a whole sequence");
    if (spec.clockwise) say(name, "turns the other way (by -angle): engines that ignore this swap left and right");
  }

  void phase_error(const std::string& name, const Frequencies& frequencies) {
    if (length_ <= 1) return;
    double fastest = 0.0;
    for (const double f : frequencies.inv_freq) fastest = std::max(fastest, std::abs(f));
    const double position = static_cast<double>(length_ - 1), error = half_ulp(position * fastest);
    if (error < 1e-4) return;
    say(name, "in float32 the angle of the fastest pair is off by up to " + shown(error, "%.2g") +
                  " radians at position " + std::to_string(length_ - 1));
  }

  // By the frequencies of the trained length: what training has seen, which was before a scaling came.
  void unfinished(const std::string& name, const RotarySpec& spec) {
    const std::int64_t trained = positions_.trained_context;
    if (trained <= 0) return;
    RotarySpec plain = spec;
    plain.scaling = NoScaling{};
    const bool proportional = std::holds_alternative<ProportionalOptions>(spec.scaling);
    const bool before = !proportional && !std::holds_alternative<NoScaling>(spec.scaling);
    const Result<Frequencies> seen = make_frequencies(proportional ? spec : plain, 0);
    if (!seen) return;
    int count = 0, moving = 0;
    double slowest = HUGE_VAL;
    for (const double f : seen->inv_freq) {
      if (f == 0.0) continue;
      ++moving;
      const double turns = std::abs(f) * static_cast<double>(trained) / (2.0 * std::numbers::pi);
      if (turns < 1.0) ++count;
      slowest = std::min(slowest, turns);
    }
    if (count > 0)
      say(name, std::to_string(count) + " of " + std::to_string(moving) +
                    " pairs never finish a turn within the trained " + std::to_string(trained) +
                    (before ? " tokens before scaling (the" : " tokens (the") + " slowest makes " +
                    shown(slowest, "%.2g") + "): past them they reach angles that training has not seen");
  }

  void beyond(const std::string& name, const RotarySpec& spec) {
    const std::int64_t trained = positions_.trained_context;
    if (trained <= 0 || length_ <= trained) return;
    const double times = static_cast<double>(length_) / static_cast<double>(trained);
    if (std::holds_alternative<NoScaling>(spec.scaling)) {
      say(name, std::to_string(length_) + " tokens are " + shown(times) + " times the trained " +
                    std::to_string(trained) + ", without scaling");
      return;
    }
    double factor = 0.0;
    if (const auto* linear = std::get_if<LinearOptions>(&spec.scaling)) factor = linear->factor;
    if (const auto* yarn = std::get_if<YarnOptions>(&spec.scaling)) factor = yarn->factor;
    if (const auto* llama3 = std::get_if<Llama3Options>(&spec.scaling)) factor = llama3->factor;
    if (factor > 0.0 && times > factor * 1.001)
      say(name, std::to_string(length_) + " tokens are " + shown(times) + " times the trained " +
                    std::to_string(trained) + ", and the scaling is for " + shown(factor) + " times");
  }

  void factors(const std::string& name, const RotarySpec& spec, const Frequencies& frequencies) {
    const double m = frequencies.attention_factor;
    if (m != 1.0) {
      const std::string amount =
          "cos and sin are multiplied by " + shown(m, "%.9g") + ", logits by " + shown(m * m, "%.9g");
      if (spec.rotary_dim < spec.head_dim)
        say(name, amount + " on the " + std::to_string(spec.rotary_dim) + " of " + std::to_string(spec.head_dim) +
                      " channels that turn only: it cannot be folded into the softmax scale");
      else
        say(name, amount + ": it must be applied once, on the tables or in the softmax scale");
    }
    if (frequencies.softmax_scale_multiplier != 1.0)
      say(name, "the softmax scale is multiplied by " + shown(frequencies.softmax_scale_multiplier, "%.9g") +
                    ": engines that leave it out are exact at position 0 only");
    if (spec.query_temperature) temperature(name, *spec.query_temperature);
  }

  void temperature(const std::string& name, const QueryTemperature& t) {
    say(name, "queries are multiplied by 1 + " + shown(t.beta) + " * ln(1 + floor((p + " + std::to_string(t.offset) +
                  ") / " + std::to_string(t.context) + ")): it belongs to the query, not to cached keys");
  }

  const CheckpointPositions& positions_;
  std::int64_t length_;
  std::vector<Hazard> found_;
};

}  // namespace

std::vector<Hazard> hazards_of(const CheckpointPositions& positions, std::int64_t length) {
  if (length <= 0) length = positions.max_context;
  return Hazards(positions, length).list();
}

}  // namespace ropewalk
