#include "cli/bench/operations.hpp"

#include "cli/bench/data.hpp"
#include "cli/bench/flip.hpp"
#include "cli/refusal.hpp"

#include <ropewalk/rotary.hpp>
#include <ropewalk/table.hpp>

#include <algorithm>
#include <array>
#include <numeric>
#include <optional>

namespace ropewalk::cli::bench {
namespace {

// q and k of a case, side by side in one buffer; where results go if not there; and a table of cosines and sines.
struct RotationMemory {
  Buffer data, results;
  std::optional<Rotary> rotary;
  std::array<RotaryOperand, 2> operands;
  std::vector<std::int64_t> positions, rows;
  std::vector<float> cos, sin;
  CosSinTable table;
};

HeadsView view_of(const Case& one, void* data, std::int64_t heads) {
  return one.order == "bshd" ? HeadsView::bshd(data, one.dtype, 1, one.tokens, heads, one.head_dim)
                             : HeadsView::bhsd(data, one.dtype, 1, heads, one.tokens, one.head_dim);
}

PreparedCase prepare_rotation(const Case& one, bool in_place) {
  const auto memory = std::make_shared<RotationMemory>();
  const std::int64_t bytes = one.elements() * static_cast<std::int64_t>(size_of(one.dtype));
  memory->data = pages(bytes);
  if (!in_place) memory->results = pages(bytes);
  const auto key_of = [&](const Buffer& buffer) {
    return static_cast<char*>(buffer.get()) +
           static_cast<std::size_t>(one.tokens * one.query_heads * one.head_dim) * size_of(one.dtype);
  };
  const Buffer& results = in_place ? memory->data : memory->results;
  memory->operands = {
      RotaryOperand{view_of(one, memory->data.get(), one.query_heads), view_of(one, results.get(), one.query_heads)},
      RotaryOperand{view_of(one, key_of(memory->data), one.key_heads), view_of(one, key_of(results), one.key_heads)}};
  memory->rotary = value_or_refuse(Rotary::make({.head_dim = static_cast<int>(one.head_dim),
                                                 .rotary_dim = static_cast<int>(one.head_dim),
                                                 .theta = kTheta,
                                                 .layout = one.layout}));
  memory->positions.resize(static_cast<std::size_t>(one.tokens));
  std::iota(memory->positions.begin(), memory->positions.end(), kFirstPosition);
  if (const auto error = memory->rotary->check(memory->operands, PositionsView::row(memory->positions)))
    throw Refused{*error, kFailed};

  // The table that a caller would hold for these positions: a row each.
  const std::int64_t pairs = one.head_dim / 2;
  const auto entries = static_cast<std::size_t>(one.tokens * pairs);
  std::vector<Turns> turns(entries);
  fill_turns(memory->rotary->frequencies(), PositionsView::row(memory->positions), {}, turns.data());
  memory->cos.resize(entries), memory->sin.resize(entries);
  fill_cos_sin(turns, 1.0, memory->cos.data(), memory->sin.data());
  memory->table = {memory->cos.data(), memory->sin.data(), one.tokens, pairs};
  memory->rows.resize(static_cast<std::size_t>(one.tokens));
  std::iota(memory->rows.begin(), memory->rows.end(), 0);

  auto* const words = static_cast<std::uint64_t*>(results.get());
  const auto ceiling = [words, count = bytes / 8](int part, int parts) {
    const std::int64_t first = count * part / parts, last = count * (part + 1) / parts;
    flip_signs(words + first, last - first);
  };
  PreparedCase prepared{.bytes = 2 * bytes, .ceiling = ceiling, .ways = {}, .memory = memory};
  RotationMemory* const m = memory.get();
  const RotaryCall call{.threads = one.threads};
  prepared.ways.push_back(
      {"ropewalk", [m, call] { m->rotary->apply(m->operands, PositionsView::row(m->positions), call); }});
  prepared.ways.push_back({"ropewalk, given a table",
                           [m, call] { m->rotary->apply(m->operands, m->table, PositionsView::row(m->rows), call); }});
  for (OwnWay& way : prepared.ways) {
    for (std::uint32_t n = 0; n < 2; ++n)
      fill_normal(m->operands[n].in.data, one.dtype, one.tokens * m->operands[n].in.heads * one.head_dim, kSeed + n);
    way.run();
    for (std::uint32_t n = 0; n < 2; ++n) {
      const HeadsView &in = m->operands[n].in, &out = m->operands[n].out;
      const auto read_in = [&in, n](std::int64_t token, std::int64_t head, std::int64_t channel) {
        return normal_at(in.dtype, token * in.token_stride + head * in.head_stride + channel, kSeed + n);
      };
      const auto read_out = [&out](std::int64_t token, std::int64_t head, std::int64_t channel) {
        return value_at(out.data, out.dtype, token * out.token_stride + head * out.head_stride + channel);
      };
      way.max_abs_error = std::max(way.max_abs_error, rotation_error(one.tokens, in.heads, one.head_dim,
                                                                     {.layout = one.layout}, read_in, read_out));
    }
  }
  return prepared;
}

}  // namespace

std::span<const Operation> operations() {
  static const std::vector<Operation> list = [] {
    std::vector<Operation> all = {
        {"in place", true, [](const Case& one) { return prepare_rotation(one, true); }},
        {"out of place", false, [](const Case& one) { return prepare_rotation(one, false); }}};
    for (Operation& one : cache_operations()) all.push_back(std::move(one));
    return all;
  }();
  return list;
}

const Operation& operation_of(const Case& one) {
  return *std::find_if(operations().begin(), operations().end(),
                       [&](const Operation& operation) { return operation.name == one.operation; });
}

}  // namespace ropewalk::cli::bench
