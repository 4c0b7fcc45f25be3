// The operations of a cache: what may be asked of them, and the streams of rows that they are.
#include <ropewalk/kv_cache.hpp>

#include "kv_cache_pass.hpp"
#include "threads.hpp"
#include "view_checks.hpp"

#include <cmath>
#include <limits>
#include <string>
#include <utility>

namespace ropewalk {
namespace {

/// What the pass does not do; `path` is "spec", "from" or "to".
std::optional<Error> check_spec(const std::string& path, const RotarySpec& spec) {
  const auto refused = [&](const char* field, const char* wanted) {
    return Error{Code::kUnsupported, path + field, wanted};
  };
  if (spec.head_dim > kMostCacheHeadDim) return refused(".head_dim", "want at most 4096 for the operations of a cache");
  if (spec.output_layout != PairLayout::kUnset && spec.output_layout != spec.layout)
    return refused(".output_layout", "want results where they came from: rotate first, then append with another spec");
  if (!spec.pair_blocks.empty()) return refused(".pair_blocks", "want one block of pairs");
  if (spec.given && spec.given->heads != 1) return refused(".given.heads", "want one table for all heads");
  if (spec.second) return refused(".second", "want a rotation, got an angle a channel");
  if (spec.xpos) return refused(".xpos", "want a rotation, got xPos");
  if (spec.fourier) return refused(".fourier", "want a rotation, got a Fourier mix");
  return std::nullopt;
}

int streams_of(const RotarySpec& spec) { return std::max(spec.axes(), spec.given ? spec.given->axes : 1); }

std::optional<Error> check_positions(const Path& path, const PositionsView& positions, const RotarySpec& spec,
                                     std::int64_t batch, std::int64_t tokens) {
  if (auto error = want_at_least(path + ".axes", streams_of(spec), positions.axes)) return error;
  if (positions.batch != 1)
    if (auto error = want(path + ".batch", batch, positions.batch)) return error;
  if (auto error = want(path + ".tokens", tokens, positions.tokens)) return error;
  if (batch > 0 && tokens > 0 && positions.data == nullptr) return invalid(path + ".data", "want an address, got null");
  return std::nullopt;
}

bool needs_scales(CacheFormat format) { return format == CacheFormat::kInt8 || format == CacheFormat::kInt4; }

std::optional<Error> check_cache(const Path& path, const CacheView& x, std::int64_t heads, std::int64_t head_dim) {
  if (static_cast<unsigned>(x.format) > static_cast<unsigned>(CacheFormat::kInt4))
    return invalid(path + ".format",
                   "want a format of CacheFormat, got number " + std::to_string(static_cast<int>(x.format)));
  if (auto error = want(path + ".head_dim", head_dim, x.head_dim)) return error;
  if (x.head_dim < 1 || x.head_dim > kMostCacheHeadDim)
    return invalid(path + ".head_dim", "want 1 to 4096, got " + std::to_string(x.head_dim));
  if (auto error = want(path + ".heads", heads, x.heads)) return error;
  if (auto error = want_at_least(path + ".pages", 0, x.pages)) return error;
  if (auto error = want_at_least(path + ".page_tokens", 0, x.page_tokens)) return error;
  if (x.heads == 0 || x.pages == 0 || x.page_tokens == 0) return std::nullopt;
  if (x.pages > kMostTokens / x.page_tokens)
    return invalid(path + ".pages", "want at most 2^40 slots in all, got " + std::to_string(x.pages) + " pages of " +
                                        std::to_string(x.page_tokens));
  if (x.data == nullptr) return invalid(path + ".data", "want an address, got null");
  const std::int64_t size = std::max<std::int64_t>(row_bytes(x.format, 2) / 2, 1);
  const std::pair<const char*, std::int64_t> counted[] = {
      {".data",
       static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(x.data) % static_cast<std::uintptr_t>(size))},
      {".page_stride", x.page_stride % size},
      {".token_stride", x.token_stride % size},
      {".head_stride", x.head_stride % size}};
  for (const auto& [name, left] : counted)
    if (left != 0)
      return invalid(path + name, "want bytes that " + std::to_string(size) + " divides, as a " +
                                      std::string(name_of(x.format)) + " needs");
  const std::pair<const char*, std::pair<std::int64_t, std::int64_t>> axes[] = {
      {".page_stride", {x.pages, x.page_stride}},
      {".token_stride", {x.page_tokens, x.token_stride}},
      {".head_stride", {x.heads, x.head_stride}}};
  for (const auto& [name, axis] : axes)
    if (axis.first > 1 && axis.second == 0)
      return invalid(path + name, "want a stride other than 0 on an axis of " + std::to_string(axis.first) + ", got 0");
  if (needs_scales(x.format) && x.scales == nullptr)
    return invalid(path + ".scales", "want a scale a row for " + std::string(name_of(x.format)) + ", got null");
  if (x.scales == nullptr) return std::nullopt;
  if (!needs_scales(x.format) && x.format != CacheFormat::kFloat8E4M3)
    return invalid(path + ".scales", "want none for " + std::string(name_of(x.format)) + ", got an address");
  if (reinterpret_cast<std::uintptr_t>(x.scales) % 4 != 0)
    return invalid(path + ".scales", "want an address that 4 divides, as a float32 needs");
  const std::pair<const char*, std::pair<std::int64_t, std::int64_t>> scale_axes[] = {
      {".scale_page_stride", {x.pages, x.scale_page_stride}},
      {".scale_token_stride", {x.page_tokens, x.scale_token_stride}},
      {".scale_head_stride", {x.heads, x.scale_head_stride}}};
  for (const auto& [name, axis] : scale_axes)
    if (axis.first > 1 && axis.second == 0)
      return invalid(path + name, "want a stride other than 0 on an axis of " + std::to_string(axis.first) + ", got 0");
  return std::nullopt;
}

std::optional<Error> check_slots(std::span<const std::int64_t> slots, std::int64_t tokens, std::int64_t below) {
  if (auto error = want("slots.size", tokens, static_cast<std::int64_t>(slots.size()))) return error;
  for (std::size_t t = 0; t < slots.size(); ++t)
    if (slots[t] >= below)
      return invalid("slots[" + std::to_string(t) + ']',
                     "want below " + std::to_string(below) + ", got " + std::to_string(slots[t]));
  return std::nullopt;
}

std::optional<Error> check_norm(const Path& path, const HeadNorm& norm) {
  if (static_cast<unsigned>(norm.place) > static_cast<unsigned>(NormPlace::kAfterRotation))
    return invalid(path + ".place",
                   "want a place of NormPlace, got number " + std::to_string(static_cast<int>(norm.place)));
  if (norm.place == NormPlace::kNone) return std::nullopt;
  if (!(norm.epsilon >= 0.0f) || !std::isfinite(norm.epsilon))
    return invalid(path + ".epsilon", "want a finite number >= 0, got " + std::to_string(norm.epsilon));
  if (reinterpret_cast<std::uintptr_t>(norm.weight) % alignof(float) != 0)
    return invalid(path + ".weight", "want an address that 4 divides, as a float32 needs");
  return std::nullopt;
}

std::optional<Error> same_tokens(const Path& path, const HeadsView& keys, const HeadsView& x) {
  if (auto error = want(path + ".batch", keys.batch, x.batch)) return error;
  return want(path + ".tokens", keys.tokens, x.tokens);
}

std::optional<Error> check_queries(const CacheAppend& append, int head_dim) {
  const auto& [in, out, role] = append.queries;
  if (in.heads == 0 && out.heads == 0) return std::nullopt;
  if (auto error = check_view("queries.in", in, head_dim)) return error;
  if (auto error = check_view("queries.out", out, head_dim)) return error;
  if (out.dtype != in.dtype)
    return invalid("queries.out.dtype",
                   "want " + std::string(name_of(in.dtype)) + ", got " + std::string(name_of(out.dtype)));
  if (auto error = same_tokens("queries.in", append.keys, in)) return error;
  if (auto error = same_tokens("queries.out", append.keys, out)) return error;
  if (auto error = want("queries.out.heads", in.heads, out.heads)) return error;
  if (!has_elements(in)) return std::nullopt;
  if (auto error = check_written("queries.out", out)) return error;
  if (in.data == out.data && !same_place(in, out))
    return invalid("queries.out", "want the view of in itself or memory apart from it, got its data in other strides");
  return check_norm("query_norm", append.query_norm);
}

/// Keys of a cache that are there already.
std::optional<Error> check_cached(const RotarySpec& spec, const CacheView& keys, std::span<const std::int64_t> slots,
                                  const Path& positions_path, const PositionsView& positions) {
  if (auto error = check_cache("keys", keys, keys.heads, spec.head_dim)) return error;
  if (auto error = want_at_least("keys.heads", 0, keys.heads)) return error;
  const auto tokens = static_cast<std::int64_t>(slots.size());
  if (auto error = check_slots(slots, tokens, keys.slots())) return error;
  return check_positions(positions_path, positions, spec, 1, tokens);
}

double elements_of(std::span<const RowStream> streams, std::int64_t batch, std::int64_t tokens) noexcept {
  double elements = 0;
  for (const RowStream& stream : streams)
    elements += static_cast<double>(batch) * static_cast<double>(tokens) * static_cast<double>(stream.heads) *
                static_cast<double>(stream.head_dim);
  return elements;
}

void run_streams(std::span<const RowStream> streams, const TokenCosSin& cos_sin, std::span<const std::int64_t> slots,
                 std::int64_t batch, std::int64_t tokens, bool skips, const RotaryCall& call) noexcept {
  if (batch < 1 || tokens < 1 || streams.empty()) return;
  run_on(CachePass(streams, cos_sin, slots, batch, tokens, skips),
         threads_for_elements(elements_of(streams, batch, tokens), call.threads, call.pool), call.pool);
}

void turn_cached(const RotarySpec& spec, const TokenCosSin& cos_sin, const CacheView& keys,
                 std::span<const std::int64_t> slots, const RotaryCall& call) noexcept {
  if (keys.heads < 1 || keys.slots() < 1) return;
  const RowPlan plan(spec);
  const RowsInMemory place(keys);
  const RowStream streams[] = {{place, place, keys.heads, keys.head_dim, &plan, nullptr}};
  run_streams(streams, cos_sin, slots, 1, static_cast<std::int64_t>(slots.size()), true, call);
}

Error behind(const std::string& prefix, Error error) {
  error.path = error.path.empty() ? prefix : prefix + '.' + error.path;
  return error;
}

}  // namespace

Result<std::vector<std::int64_t>> slots_of_pages(std::span<const std::int64_t> block_table, std::int64_t page_tokens,
                                                 std::int64_t first, std::int64_t tokens) {
  if (auto error = want_at_least("page_tokens", 1, page_tokens)) return *error;
  if (auto error = want_at_least("first", 0, first)) return *error;
  if (auto error = want_at_least("tokens", 0, tokens)) return *error;
  const auto blocks = static_cast<std::int64_t>(block_table.size());
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  const std::int64_t held = blocks > kMost / page_tokens ? kMost : blocks * page_tokens;
  if (tokens > held || first > held - tokens)
    return *invalid("block_table", "want pages for tokens up to " + std::to_string(first) + " + " +
                                       std::to_string(tokens) + ", got " + std::to_string(blocks) + " of " +
                                       std::to_string(page_tokens));
  std::vector<std::int64_t> slots(static_cast<std::size_t>(tokens));
  for (std::int64_t t = 0; t < tokens; ++t) {
    const std::int64_t block = (first + t) / page_tokens, page = block_table[static_cast<std::size_t>(block)];
    if (page < 0 || page > kMost / page_tokens - 1)
      return *invalid("block_table[" + std::to_string(block) + ']',
                      "want a page whose slots are numbers of 64 bits, got " + std::to_string(page));
    slots[static_cast<std::size_t>(t)] = page * page_tokens + (first + t) % page_tokens;
  }
  return slots;
}

std::optional<Error> check_append(const Rotary& rotary, const CacheAppend& append, const PositionsView& positions) {
  const RotarySpec& spec = rotary.spec();
  const HeadsView &keys = append.keys, &values = append.values;
  if (auto error = check_spec("spec", spec)) return error;
  if (auto error = check_view("keys", keys, spec.head_dim)) return error;
  std::int64_t capacity = std::numeric_limits<std::int64_t>::max();
  if (keys.heads != 0) {
    if (auto error = check_cache("key_cache", append.key_cache, keys.heads, spec.head_dim)) return error;
    if (auto error = check_norm("key_norm", append.key_norm)) return error;
    capacity = append.key_cache.slots();
  }
  if (values.heads != 0) {
    if (auto error = check_view("values", values,
                                static_cast<int>(std::clamp<std::int64_t>(values.head_dim, 1, kMostCacheHeadDim))))
      return error;
    if (auto error = same_tokens("values", keys, values)) return error;
    if (auto error = check_cache("value_cache", append.value_cache, values.heads, values.head_dim)) return error;
    capacity = std::min(capacity, append.value_cache.slots());
  }
  if (auto error = check_queries(append, spec.head_dim)) return error;
  if (auto error = check_slots(append.slots, keys.batch * keys.tokens, capacity)) return error;
  return check_positions("positions", positions, spec, keys.batch, keys.tokens);
}

void append(const Rotary& rotary, const CacheAppend& append, const PositionsView& positions,
            const RotaryCall& call) noexcept {
  const RotarySpec& spec = rotary.spec();
  const RowPlan turned(spec), straight(std::clamp<std::int64_t>(append.values.head_dim, 0, kMostCacheHeadDim));
  const RowStream all[] = {{RowsInMemory(append.queries.in), RowsInMemory(append.queries.out), append.queries.in.heads,
                            spec.head_dim, &turned, &append.query_norm},
                           {RowsInMemory(append.keys), RowsInMemory(append.key_cache), append.keys.heads, spec.head_dim,
                            &turned, &append.key_norm},
                           {RowsInMemory(append.values), RowsInMemory(append.value_cache), append.values.heads,
                            append.values.head_dim, &straight, nullptr}};
  const TokenCosSin cos_sin(spec, rotary.frequencies(), positions, gain_of(spec, rotary.frequencies(), call.direction));
  run_streams(all, cos_sin, append.slots, append.keys.batch, append.keys.tokens, false, call);
}

std::optional<Error> check_shift(const Rotary& rotary, const CacheView& keys, std::span<const std::int64_t> slots,
                                 const PositionsView& deltas) {
  if (auto error = check_spec("spec", rotary.spec())) return error;
  return check_cached(rotary.spec(), keys, slots, "deltas", deltas);
}

void shift(const Rotary& rotary, const CacheView& keys, std::span<const std::int64_t> slots,
           const PositionsView& deltas, const RotaryCall& call) noexcept {
  const RotarySpec& spec = rotary.spec();
  const TokenCosSin cos_sin(spec, rotary.frequencies(), deltas, gain_of(spec, rotary.frequencies(), Direction::kShift));
  turn_cached(spec, cos_sin, keys, slots, call);
}

Result<Rerotation> Rerotation::make(const RotarySpec& from, std::int64_t from_running_length, const RotarySpec& to,
                                    std::int64_t to_running_length) {
  const auto one = Rotary::make(from, from_running_length), other = Rotary::make(to, to_running_length);
  if (!one) return behind("from", one.error());
  if (!other) return behind("to", other.error());
  if (auto error = check_spec("from", from)) return *std::move(error);
  if (auto error = check_spec("to", to)) return *std::move(error);
  if (auto error = want("to.head_dim", from.head_dim, to.head_dim)) return *std::move(error);
  if (auto error = want("to.rotary_dim", from.rotary_dim, to.rotary_dim)) return *std::move(error);
  if (auto error = want("to.rotary_offset", from.rotary_offset, to.rotary_offset)) return *std::move(error);
  if (from.layout != to.layout)
    return *invalid("to.layout",
                    "want " + std::string(name_of(from.layout)) + " as before, got " + std::string(name_of(to.layout)));
  if (from.clockwise != to.clockwise) return *invalid("to.clockwise", "want the direction of before, got the other");
  for (int pair = 0; pair < from.pairs(); ++pair) {
    const auto axis = [&](const RotarySpec& spec) {
      return spec.axis_of_pair.empty() ? 0 : spec.axis_of_pair[static_cast<std::size_t>(pair)];
    };
    if (auto error = want(Path("to.axis_of_pair", static_cast<std::size_t>(pair)), axis(from), axis(to)))
      return *std::move(error);
  }
  if (auto error = want("to.given.axes", from.given ? from.given->axes : 1, to.given ? to.given->axes : 1))
    return *std::move(error);
  Rerotation made;
  made.from_ = from;
  made.to_ = to;
  made.from_frequencies_ = one->frequencies();
  made.to_frequencies_ = other->frequencies();
  const double before = made.from_frequencies_.attention_factor;
  if (!(before > 0.0)) return *invalid("from.scaling", "want an attention factor above 0, got 0: its keys are lost");
  made.gain_ = made.to_frequencies_.attention_factor / before;
  if (from.numerics == Numerics::kExact && to.numerics == Numerics::kExact) {
    made.difference_ = made.to_frequencies_;
    for (std::size_t j = 0; j < made.difference_.turns_per_token.size(); ++j)
      made.difference_.turns_per_token[j] -= made.from_frequencies_.turns_per_token[j];
  }
  return made;
}

std::optional<Error> Rerotation::check(const CacheView& keys, std::span<const std::int64_t> slots,
                                       const PositionsView& positions) const {
  return check_cached(to_, keys, slots, "positions", positions);
}

std::optional<Error> Rerotation::check(const HeadsView& keys, const PositionsView& positions) const {
  if (auto error = check_view("keys", keys, to_.head_dim)) return error;
  if (has_elements(keys))
    if (auto error = check_written("keys", keys)) return error;
  return check_positions("positions", positions, to_, keys.batch, keys.tokens);
}

void Rerotation::apply(const CacheView& keys, std::span<const std::int64_t> slots, const PositionsView& positions,
                       const RotaryCall& call) const noexcept {
  const bool exact = !difference_.turns_per_token.empty();
  TokenCosSin cos_sin(to_, exact ? difference_ : to_frequencies_, positions, cpu::Gain::of(gain_, to_.clockwise));
  if (!exact) cos_sin.subtract(from_, from_frequencies_, positions);
  turn_cached(to_, cos_sin, keys, slots, call);
}

void Rerotation::apply(const HeadsView& keys, const PositionsView& positions, const RotaryCall& call) const noexcept {
  const bool exact = !difference_.turns_per_token.empty();
  TokenCosSin cos_sin(to_, exact ? difference_ : to_frequencies_, positions, cpu::Gain::of(gain_, to_.clockwise));
  if (!exact) cos_sin.subtract(from_, from_frequencies_, positions);
  const RowPlan plan(to_);
  const RowsInMemory place(keys);
  const RowStream streams[] = {{place, place, keys.heads, keys.head_dim, &plan, nullptr}};
  run_streams(streams, cos_sin, {}, keys.batch, keys.tokens, true, call);
}

}  // namespace ropewalk
