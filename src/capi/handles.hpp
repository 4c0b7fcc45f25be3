// What stands behind the incomplete structs of the header. None changes after it is made.
#pragma once

#include <ropewalk/ropewalk.h>
#include <ropewalk/absolute.hpp>
#include <ropewalk/bias.hpp>
#include <ropewalk/config.hpp>
#include <ropewalk/frequencies.hpp>
#include <ropewalk/kv_cache.hpp>
#include <ropewalk/rotary.hpp>
#include <ropewalk/scaling.hpp>
#include <ropewalk/spec.hpp>

#include <deque>
#include <string>
#include <utility>
#include <variant>
#include <vector>

/// A spec and its mirror in C, whose pointers lead into both.
struct rw_spec {
  explicit rw_spec(ropewalk::RotarySpec made);
  rw_spec(const rw_spec&) = delete;
  rw_spec& operator=(const rw_spec&) = delete;

  const ropewalk::RotarySpec spec;
  const std::string text;
  rw_spec_fields fields;

 private:
  void mirror_scaling();

  std::variant<std::monostate, rw_linear, rw_ntk, rw_dynamic_ntk, rw_yarn, rw_longrope, rw_llama3, rw_proportional,
               rw_divisors>
      scaling_;
  rw_given given_;
  rw_second_angle second_;
  rw_xpos xpos_;
  rw_fourier_mix fourier_;
  rw_query_temperature query_temperature_;
};

struct rw_frequencies {
  ropewalk::Frequencies frequencies;
};

struct rw_rotary {
  explicit rw_rotary(ropewalk::Rotary made)
      : rotary(std::move(made)), spec(rotary.spec()), frequencies{rotary.frequencies()} {}

  const ropewalk::Rotary rotary;
  const rw_spec spec;
  const rw_frequencies frequencies;
};

struct rw_rerotation {
  const ropewalk::Rerotation rerotation;
};

struct rw_checkpoint {
  explicit rw_checkpoint(ropewalk::CheckpointPositions read);
  rw_checkpoint(const rw_checkpoint&) = delete;
  rw_checkpoint& operator=(const rw_checkpoint&) = delete;

  const ropewalk::CheckpointPositions positions;
  rw_checkpoint_fields fields;
  std::vector<rw_layer_kind> kinds;

 private:
  using Names = std::vector<const char*>;

  Names parts_, keys_used_, keys_ignored_, notes_;
  std::deque<rw_spec> specs_;  // a deque leaves what is in it where it is
  std::deque<rw_query_temperature> temperatures_;
  std::deque<Names> streams_;
};

struct rw_hazards {
  const std::vector<ropewalk::Hazard> list;
};

struct rw_dynamic_length {
  ropewalk::DynamicLength length;
};

struct rw_sinusoidal {
  const ropewalk::Sinusoidal sinusoidal;
};

struct rw_bias {
  const ropewalk::ScoreBias bias;
};

namespace ropewalk::capi {

rw_query_temperature mirror_of(const QueryTemperature& temperature) noexcept;

}  // namespace ropewalk::capi
