#include <ropewalk/frequencies.hpp>

#include <memory>
#include <utility>

#include "capi/handles.hpp"
#include "capi/structs.hpp"

using namespace ropewalk::capi;

rw_status rw_frequencies_create(const rw_spec* spec, int64_t running_length, rw_frequencies** frequencies_out,
                                char* error, size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    if (auto failure = want_place(frequencies_out, Where{"frequencies_out"})) return failure;
    if (auto failure = want_address(spec, Where{"spec"})) return failure;
    auto made = ropewalk::make_frequencies(spec->spec, running_length);
    if (!made) return made.error();
    *frequencies_out = new rw_frequencies{*std::move(made)};
    return std::nullopt;
  });
}

void rw_frequencies_destroy(rw_frequencies* frequencies) { delete frequencies; }

rw_status rw_frequencies_get(const rw_frequencies* frequencies, rw_frequencies_fields* fields_out, char* error,
                             size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    if (auto failure = want_address(frequencies, Where{"frequencies"})) return failure;
    const ropewalk::Frequencies& from = frequencies->frequencies;
    const auto data_of = [](const auto& list) { return list.empty() ? nullptr : list.data(); };
    rw_frequencies_fields fields = RW_FREQUENCIES_FIELDS_INIT;
    fields.count = from.inv_freq.size();
    fields.inv_freq = data_of(from.inv_freq);
    fields.turns_per_token = data_of(from.turns_per_token);
    fields.inv_freq_fp32 = data_of(from.inv_freq_fp32);
    fields.second_inv_freq = data_of(from.second_inv_freq);
    fields.second_turns_per_token = data_of(from.second_turns_per_token);
    fields.second_inv_freq_fp32 = data_of(from.second_inv_freq_fp32);
    fields.attention_factor = from.attention_factor;
    fields.softmax_scale_multiplier = from.softmax_scale_multiplier;
    fields.centre = from.centre;
    return give_struct(fields, fields_out, Where{"fields_out"});
  });
}
