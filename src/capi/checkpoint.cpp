#include <ropewalk/config.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "capi/handles.hpp"
#include "capi/lists.hpp"
#include "capi/structs.hpp"

using namespace ropewalk::capi;

namespace {

std::vector<const char*> names_of(const std::vector<std::string>& list) {
  std::vector<const char*> names;
  names.reserve(list.size());
  for (const std::string& name : list) names.push_back(name.c_str());
  return names;
}

template <class T>
const T* data_of(const std::vector<T>& list) noexcept {
  return list.empty() ? nullptr : list.data();
}

Failure take_options(const rw_read_options* pointed, ropewalk::ReadOptions& to) {
  constexpr Where kWhere{"options"};
  if (pointed == nullptr) return std::nullopt;
  rw_read_options given;
  if (auto failure = take_struct(pointed, kWhere, given)) return failure;
  if (given.family != nullptr) to.family = given.family;
  if (given.part != nullptr) to.part = given.part;
  if (auto failure = take_enum(given.numerics, ropewalk::Numerics::kFp32, kWhere, ".numerics", to.numerics))
    return failure;
  return want_reserved(given.reserved, kWhere);
}

Failure want_index(std::size_t index, std::size_t count) {
  if (index < count) return std::nullopt;
  return refused("index", "want a number below " + std::to_string(count) + ", got " + std::to_string(index));
}

template <class Read>
rw_status read_with(const rw_read_options* options, rw_checkpoint** checkpoint_out, char* error, std::size_t error_size,
                    Read&& read) {
  return guarded(error, error_size, [&]() -> Failure {
    ropewalk::ReadOptions how;
    if (auto failure = want_place(checkpoint_out, Where{"checkpoint_out"})) return failure;
    if (auto failure = take_options(options, how)) return failure;
    auto made = read(how);
    if (!made) return made.error();
    *checkpoint_out = std::make_unique<rw_checkpoint>(*std::move(made)).release();
    return std::nullopt;
  });
}

using Answer = ropewalk::Result<ropewalk::CheckpointPositions>;

}  // namespace

rw_checkpoint::rw_checkpoint(ropewalk::CheckpointPositions read)
    : positions(std::move(read)),
      fields(RW_CHECKPOINT_FIELDS_INIT),
      parts_(names_of(positions.parts)),
      keys_used_(names_of(positions.keys_used)),
      keys_ignored_(names_of(positions.keys_ignored)),
      notes_(names_of(positions.notes)) {
  for (const ropewalk::LayerKind& from : positions.kinds) {
    rw_layer_kind kind = RW_LAYER_KIND_INIT;
    kind.name = from.name.c_str();
    kind.layers = data_of(from.layers);
    kind.layers_count = from.layers.size();
    if (from.spec) kind.spec = &specs_.emplace_back(*from.spec);
    const Names& streams = streams_.emplace_back(names_of(from.streams));
    kind.streams = data_of(streams);
    kind.streams_count = streams.size();
    if (const auto& temperature = from.query_temperature())
      kind.query_temperature = &temperatures_.emplace_back(mirror_of(*temperature));
    kind.head_dim = from.head_dim;
    kinds.push_back(kind);
  }
  fields.source = positions.source.c_str();
  fields.model_type = positions.model_type.c_str();
  fields.family = positions.family.c_str();
  fields.part = positions.part.c_str();
  fields.parts = data_of(parts_);
  fields.parts_count = parts_.size();
  fields.trained_context = positions.trained_context;
  fields.max_context = positions.max_context;
  fields.layer_count = positions.layer_count;
  fields.kinds_count = kinds.size();
  fields.provenance_count = positions.provenance.size();
  fields.keys_used = data_of(keys_used_);
  fields.keys_used_count = keys_used_.size();
  fields.keys_ignored = data_of(keys_ignored_);
  fields.keys_ignored_count = keys_ignored_.size();
  fields.notes = data_of(notes_);
  fields.notes_count = notes_.size();
}

rw_status rw_checkpoint_from_path(const char* path, const rw_read_options* options, rw_checkpoint** checkpoint_out,
                                  char* error, size_t error_size) {
  return read_with(options, checkpoint_out, error, error_size, [&](const ropewalk::ReadOptions& how) -> Answer {
    if (auto failure = want_address(path, Where{"path"})) return *std::move(failure);
    return ropewalk::read_positions(path, how);
  });
}

rw_status rw_checkpoint_from_json(const char* text, size_t text_size, const char* source,
                                  const rw_read_options* options, rw_checkpoint** checkpoint_out, char* error,
                                  size_t error_size) {
  return read_with(options, checkpoint_out, error, error_size, [&](const ropewalk::ReadOptions& how) -> Answer {
    std::span<const char> characters;
    if (auto failure = want_address(text, Where{"text"})) return *std::move(failure);
    if (auto failure = take_span(text, text_size, Where{"text"}, "", characters)) return *std::move(failure);
    return ropewalk::read_config_json({characters.data(), characters.size()},
                                      source == nullptr ? "config.json" : source, how);
  });
}

void rw_checkpoint_destroy(rw_checkpoint* checkpoint) { delete checkpoint; }

rw_status rw_checkpoint_get(const rw_checkpoint* checkpoint, rw_checkpoint_fields* fields_out, char* error,
                            size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    if (auto failure = want_address(checkpoint, Where{"checkpoint"})) return failure;
    return give_struct(checkpoint->fields, fields_out, Where{"fields_out"});
  });
}

rw_status rw_checkpoint_kind(const rw_checkpoint* checkpoint, size_t index, rw_layer_kind* kind_out, char* error,
                             size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    if (auto failure = want_address(checkpoint, Where{"checkpoint"})) return failure;
    if (auto failure = want_index(index, checkpoint->kinds.size())) return failure;
    return give_struct(checkpoint->kinds[index], kind_out, Where{"kind_out"});
  });
}

rw_status rw_checkpoint_provenance(const rw_checkpoint* checkpoint, size_t index, rw_provenance* provenance_out,
                                   char* error, size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    if (auto failure = want_address(checkpoint, Where{"checkpoint"})) return failure;
    if (auto failure = want_index(index, checkpoint->positions.provenance.size())) return failure;
    const ropewalk::Provenance& from = checkpoint->positions.provenance[index];
    rw_provenance provenance = RW_PROVENANCE_INIT;
    provenance.what = from.what.c_str();
    provenance.value = from.value.c_str();
    provenance.from = from.from.c_str();
    return give_struct(provenance, provenance_out, Where{"provenance_out"});
  });
}

rw_status rw_checkpoint_fingerprint(const rw_checkpoint* checkpoint, int64_t running_length, char* fingerprint_out,
                                    char* error, size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    if (auto failure = want_address(checkpoint, Where{"checkpoint"})) return failure;
    if (auto failure = want_address(fingerprint_out, Where{"fingerprint_out"})) return failure;
    const auto made = fingerprint(checkpoint->positions, running_length);
    if (!made) return made.error();
    write_line(*made, fingerprint_out, RW_FINGERPRINT_SIZE);
    return std::nullopt;
  });
}

rw_status rw_checkpoint_hazards(const rw_checkpoint* checkpoint, int64_t length, rw_hazards** hazards_out, char* error,
                                size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    if (auto failure = want_place(hazards_out, Where{"hazards_out"})) return failure;
    if (auto failure = want_address(checkpoint, Where{"checkpoint"})) return failure;
    if (length < 0) return refused("length", "want a number of tokens >= 0, got " + std::to_string(length));
    *hazards_out = new rw_hazards{hazards_of(checkpoint->positions, length)};
    return std::nullopt;
  });
}

void rw_hazards_destroy(rw_hazards* hazards) { delete hazards; }

size_t rw_hazards_count(const rw_hazards* hazards) { return hazards == nullptr ? 0 : hazards->list.size(); }

rw_status rw_hazards_get(const rw_hazards* hazards, size_t index, rw_hazard* hazard_out, char* error,
                         size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    if (auto failure = want_address(hazards, Where{"hazards"})) return failure;
    if (auto failure = want_index(index, hazards->list.size())) return failure;
    rw_hazard hazard = RW_HAZARD_INIT;
    hazard.kind = hazards->list[index].kind.c_str();
    hazard.message = hazards->list[index].message.c_str();
    return give_struct(hazard, hazard_out, Where{"hazard_out"});
  });
}
