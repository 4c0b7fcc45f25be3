#include "cli/bench/data.hpp"
#include "cli/bench/flip.hpp"
#include "cli/bench/operations.hpp"
#include "cli/refusal.hpp"

#include <ropewalk/kv_cache.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <optional>

namespace ropewalk::cli::bench {
namespace {

constexpr std::int64_t kShift = -512;  // a context that drops its oldest tokens
constexpr double kRescale = 4;         // linear scaling, switched on over cached keys
constexpr float kNormWeight = 0.75f;
constexpr std::uint32_t kKeyStream = kSeed + 1, kValueStream = kSeed + 2;

bool has_scales(CacheFormat format) { return format == CacheFormat::kInt8 || format == CacheFormat::kInt4; }

long double from_e4m3(std::uint8_t code) {
  const int exponent = code >> 3 & 15, fraction = code & 7;
  const long double magnitude = exponent == 0                     ? std::ldexp(static_cast<long double>(fraction), -9)
                                : exponent == 15 && fraction == 7 ? std::nanl("")
                                                                  : std::ldexp(8.0L + fraction, exponent - 10);
  return (code & 0x80) != 0 ? -magnitude : magnitude;
}

// A contiguous cache [slots, heads, head_dim] and its memory.
struct Cache {
  Cache(CacheFormat format, std::int64_t slots, std::int64_t heads, std::int64_t head_dim)
      : bytes(slots * heads * row_bytes(format, head_dim)),
        data(pages(bytes)),
        scales(has_scales(format) ? static_cast<std::size_t>(slots * heads) : 0),
        view(
            CacheView::by_token(data.get(), format, slots, heads, head_dim, scales.empty() ? nullptr : scales.data())) {
    std::memset(data.get(), 0, static_cast<std::size_t>(bytes));
  }

  std::int64_t bytes_with_scales() const { return bytes + static_cast<std::int64_t>(4 * scales.size()); }

  std::int64_t bytes;
  Buffer data;
  std::vector<float> scales;
  CacheView view;
};

// Channel `channel` of a row, from bytes that lie as those of the cache.
long double cached_at(const CacheView& cache, const void* data, const float* scales, std::int64_t slot,
                      std::int64_t head, std::int64_t channel) {
  const auto* const row = static_cast<const std::uint8_t*>(data) + slot * cache.token_stride + head * cache.head_stride;
  const auto scaled = [&](int code) {
    return static_cast<long double>(code) *
           static_cast<long double>(scales[slot * cache.scale_token_stride + head * cache.scale_head_stride]);
  };
  switch (cache.format) {
    case CacheFormat::kFloat32: return value_at(row, DType::kFloat32, channel);
    case CacheFormat::kBFloat16: return value_at(row, DType::kBFloat16, channel);
    case CacheFormat::kFloat16: return value_at(row, DType::kFloat16, channel);
    case CacheFormat::kFloat8E4M3: return from_e4m3(row[channel]);
    case CacheFormat::kInt8: return scaled(static_cast<std::int8_t>(row[channel]));
    case CacheFormat::kInt4: {
      const int nibble = channel % 2 == 0 ? row[channel / 2] & 15 : row[channel / 2] >> 4;
      return scaled(nibble < 8 ? nibble : nibble - 16);
    }
  }
  return 0;
}

void want(const std::optional<Error>& error) {
  if (error) throw Refused{*error, kFailed};
}

struct CacheMemory {
  CacheMemory(const Case& one, CacheFormat format)
      : rotary(value_or_refuse(Rotary::make({.head_dim = static_cast<int>(one.head_dim),
                                             .rotary_dim = static_cast<int>(one.head_dim),
                                             .theta = kTheta,
                                             .layout = one.layout}))),
        keys(format, one.tokens, one.key_heads, one.head_dim),
        values(format, one.tokens, one.key_heads, one.head_dim),
        weight(static_cast<std::size_t>(one.head_dim), kNormWeight),
        positions(static_cast<std::size_t>(one.tokens)),
        slots(positions.size()),
        deltas(positions.size(), kShift) {
    std::iota(positions.begin(), positions.end(), kFirstPosition);
    std::iota(slots.begin(), slots.end(), 0);
  }

  PositionsView where() const { return PositionsView::row(positions); }

  Rotary rotary;
  Cache keys, values;
  std::vector<float> weight;
  std::vector<std::int64_t> positions, slots, deltas;
  Buffer new_queries, new_keys, new_values;
  CacheAppend call;
  std::optional<Rerotation> rerotation;
};

// Makes `memory->call` ready: new tokens of normal numbers for every slot.
void fill_call(const Case& one, CacheMemory& memory, bool normed) {
  const auto element = static_cast<std::int64_t>(size_of(one.dtype));
  const auto filled = [&](Buffer& buffer, std::int64_t heads, std::uint32_t stream) {
    const std::int64_t elements = one.tokens * heads * one.head_dim;
    buffer = pages(elements * element);
    fill_normal(buffer.get(), one.dtype, elements, stream);
    return HeadsView::thd(buffer.get(), one.dtype, one.tokens, heads, one.head_dim);
  };
  memory.call.queries = RotaryOperand::in_place(filled(memory.new_queries, one.query_heads, kSeed));
  memory.call.keys = filled(memory.new_keys, one.key_heads, kKeyStream);
  memory.call.values = filled(memory.new_values, one.key_heads, kValueStream);
  memory.call.key_cache = memory.keys.view;
  memory.call.value_cache = memory.values.view;
  memory.call.slots = memory.slots;
  if (normed)
    memory.call.query_norm =
        memory.call.key_norm = {.place = NormPlace::kBeforeRotation, .weight = memory.weight.data()};
  want(check_append(memory.rotary, memory.call, memory.where()));
}

PreparedCase prepare_append(const Case& one, CacheFormat format, bool normed) {
  const auto memory = std::make_shared<CacheMemory>(one, format);
  fill_call(one, *memory, normed);
  const auto element = static_cast<std::int64_t>(size_of(one.dtype));
  const std::int64_t query_bytes = one.tokens * one.query_heads * one.head_dim * element;
  const std::int64_t key_bytes = one.tokens * one.key_heads * one.head_dim * element;
  CacheMemory* const m = memory.get();
  PreparedCase prepared{
      .bytes = 2 * query_bytes + 2 * key_bytes + 2 * m->keys.bytes_with_scales(),
      .ceiling =
          [m, tokens = one.tokens, query_bytes, key_bytes](int part, int parts) {
            const auto words = [&](const Buffer& buffer, std::int64_t bytes, std::int64_t token) {
              return static_cast<std::uint64_t*>(buffer.get()) + bytes / tokens * token / 8;
            };
            const std::int64_t first = tokens * part / parts, count = tokens * (part + 1) / parts - first;
            flip_signs(words(m->new_queries, query_bytes, first), query_bytes / tokens * count / 8);
            const std::int64_t read = key_bytes / tokens * count / 8, written = m->keys.bytes / tokens * count / 8;
            move_words(words(m->new_keys, key_bytes, first), read, words(m->keys.data, m->keys.bytes, first), written);
            move_words(words(m->new_values, key_bytes, first), read, words(m->values.data, m->keys.bytes, first),
                       written);
          },
      .ways = {},
      .memory = memory};
  const RotaryCall call{.threads = one.threads};
  OwnWay way{"ropewalk", [m, call] { append(m->rotary, m->call, m->where(), call); }};
  way.run();
  const auto before = [&](std::uint32_t stream, std::int64_t heads) {
    return [&one, stream, heads](std::int64_t token, std::int64_t head, std::int64_t channel) {
      return normal_at(one.dtype, (token * heads + head) * one.head_dim + channel, stream);
    };
  };
  const Turned turned{.layout = one.layout, .norm_weight = normed ? kNormWeight : 0.0};
  const double of_keys =
      rotation_error(one.tokens, one.key_heads, one.head_dim, turned, before(kKeyStream, one.key_heads),
                     [m](std::int64_t token, std::int64_t head, std::int64_t channel) {
                       return cached_at(m->keys.view, m->keys.data.get(), m->keys.scales.data(), token, head, channel);
                     });
  const HeadsView& queries = m->call.queries.out;
  const double of_queries =
      rotation_error(one.tokens, one.query_heads, one.head_dim, turned, before(kSeed, one.query_heads),
                     [&queries](std::int64_t token, std::int64_t head, std::int64_t channel) {
                       return value_at(queries.data, queries.dtype,
                                       token * queries.token_stride + head * queries.head_stride + channel);
                     });
  way.max_abs_error = std::max(of_keys, of_queries);
  prepared.ways.push_back(std::move(way));
  return prepared;
}

// A cache whose keys are there, turned in place by `run`.
PreparedCase prepare_turned(const Case& one, CacheFormat format, const Turned& turned,
                            const std::function<std::function<void()>(CacheMemory&)>& ready) {
  const auto memory = std::make_shared<CacheMemory>(one, format);
  fill_call(one, *memory, false);
  append(memory->rotary, memory->call, memory->where());
  memory->call = {};
  for (Buffer* const done : {&memory->new_queries, &memory->new_keys, &memory->new_values}) done->reset();
  CacheMemory* const m = memory.get();
  const std::vector<std::uint8_t> codes(static_cast<const std::uint8_t*>(m->keys.data.get()),
                                        static_cast<const std::uint8_t*>(m->keys.data.get()) + m->keys.bytes);
  const std::vector<float> scales = m->keys.scales;
  PreparedCase prepared{.bytes = 2 * m->keys.bytes_with_scales(),
                        .ceiling =
                            [m](int part, int parts) {
                              const std::int64_t words = m->keys.bytes / 8, first = words * part / parts;
                              flip_signs(static_cast<std::uint64_t*>(m->keys.data.get()) + first,
                                         words * (part + 1) / parts - first);
                            },
                        .ways = {},
                        .memory = memory};
  OwnWay way{"ropewalk", ready(*m)};
  way.run();
  way.max_abs_error = rotation_error(
      one.tokens, one.key_heads, one.head_dim, turned,
      [&](std::int64_t slot, std::int64_t head, std::int64_t channel) {
        return cached_at(m->keys.view, codes.data(), scales.data(), slot, head, channel);
      },
      [m](std::int64_t slot, std::int64_t head, std::int64_t channel) {
        return cached_at(m->keys.view, m->keys.data.get(), m->keys.scales.data(), slot, head, channel);
      });
  prepared.ways.push_back(std::move(way));
  return prepared;
}

PreparedCase prepare_shift(const Case& one, CacheFormat format) {
  return prepare_turned(
      one, format, {.layout = one.layout, .first_position = kShift, .position_step = 0}, [&](CacheMemory& memory) {
        CacheMemory* const m = &memory;
        const RotaryCall call{.threads = one.threads};
        want(check_shift(m->rotary, m->keys.view, m->slots, PositionsView::row(m->deltas)));
        return [m, call] { shift(m->rotary, m->keys.view, m->slots, PositionsView::row(m->deltas), call); };
      });
}

PreparedCase prepare_rescale(const Case& one, CacheFormat format) {
  return prepare_turned(one, format, {.layout = one.layout, .angle_factor = 1 / kRescale - 1},
                        [&](CacheMemory& memory) {
                          CacheMemory* const m = &memory;
                          const RotaryCall call{.threads = one.threads};
                          RotarySpec to = m->rotary.spec();
                          to.scaling = LinearOptions{.factor = kRescale};
                          m->rerotation = value_or_refuse(Rerotation::make(m->rotary.spec(), 0, to, 0));
                          want(m->rerotation->check(m->keys.view, m->slots, m->where()));
                          return [m, call] { m->rerotation->apply(m->keys.view, m->slots, m->where(), call); };
                        });
}

}  // namespace

std::vector<Operation> cache_operations() {
  std::vector<Operation> out;
  for (const CacheFormat format : {CacheFormat::kFloat32, CacheFormat::kBFloat16, CacheFormat::kFloat16,
                                   CacheFormat::kFloat8E4M3, CacheFormat::kInt8, CacheFormat::kInt4}) {
    const auto add = [&](const std::string& name, std::function<PreparedCase(const Case&)> prepare) {
      out.push_back({fmt::format("{} {}", name, name_of(format)), false, std::move(prepare)});
    };
    add("append to", [format](const Case& one) { return prepare_append(one, format, false); });
    add("norm and append to", [format](const Case& one) { return prepare_append(one, format, true); });
    add("shift in", [format](const Case& one) { return prepare_shift(one, format); });
    add("rescale in", [format](const Case& one) { return prepare_rescale(one, format); });
  }
  return out;
}

}  // namespace ropewalk::cli::bench
