#include <ropewalk/positions.hpp>

#include <limits>
#include <new>
#include <optional>
#include <string>
#include <utility>

namespace ropewalk {
namespace {

using Positions = std::vector<std::int64_t>;
constexpr std::int64_t kLargest = std::numeric_limits<std::int64_t>::max();

Error invalid(std::string path, std::string message) {
  return Error{Code::kInvalid, std::move(path), std::move(message)};
}

// `count` zeros, or why not. count >= 0.
Result<Positions> zeros(std::int64_t count) {
  constexpr std::int64_t kMost = std::int64_t{1} << 40;  // 8 TiB: no machine is asked for more
  if (count <= kMost) {
    try {
      return Positions(static_cast<std::size_t>(count));
    } catch (const std::bad_alloc&) {
    }
  }
  return invalid("tokens", "want positions that fit in memory, got " + std::to_string(count));
}

// True if first, ..., first + tokens - 1 are int64.
bool fits(std::int64_t first, std::int64_t tokens) noexcept { return tokens == 0 || first <= kLargest - (tokens - 1); }

std::optional<Error> tokens_error(std::int64_t tokens) {
  if (tokens >= 0) return std::nullopt;
  return invalid("tokens", "want a number >= 0, got " + std::to_string(tokens));
}

std::string at(const char* name, std::size_t index) { return std::string(name) + "[" + std::to_string(index) + "]"; }

Error leaves_int64(std::string path, std::int64_t first, std::int64_t tokens) {
  return invalid(std::move(path), "want a last position below 2^63, got " + std::to_string(first) + " and " +
                                      std::to_string(tokens) + " tokens");
}

}  // namespace

Result<Positions> positions_from_range(std::int64_t first, std::int64_t tokens) {
  if (tokens > 0 && !fits(first, tokens)) return leaves_int64("first", first, tokens);
  return positions_from_offsets({&first, 1}, 1, tokens);
}

Result<Positions> positions_from_offsets(std::span<const std::int64_t> seqlen_offsets, std::int64_t batch,
                                         std::int64_t tokens) {
  if (batch < 0) return invalid("batch", "want a number >= 0, got " + std::to_string(batch));
  if (auto error = tokens_error(tokens)) return *std::move(error);
  const auto offsets = static_cast<std::int64_t>(seqlen_offsets.size());
  if (offsets != 1 && offsets != batch)
    return invalid("seqlen_offsets",
                   "want 1 entry or one a row (" + std::to_string(batch) + "), got " + std::to_string(offsets));
  for (std::size_t b = 0; b < seqlen_offsets.size(); ++b)
    if (!fits(seqlen_offsets[b], tokens)) return leaves_int64(at("seqlen_offsets", b), seqlen_offsets[b], tokens);
  if (tokens > 0 && batch > kLargest / tokens)
    return invalid("tokens", "want positions that fit in memory, got " + std::to_string(batch) + " rows of " +
                                 std::to_string(tokens));

  auto result = zeros(batch * tokens);
  if (!result) return result;
  std::size_t i = 0;
  for (std::int64_t b = 0; b < batch; ++b)
    for (std::int64_t t = 0; t < tokens; ++t)
      (*result)[i++] = seqlen_offsets[offsets == 1 ? 0 : static_cast<std::size_t>(b)] + t;
  return result;
}

Result<Positions> positions_from_cu_seqlens(std::span<const std::int64_t> cu_seqlens,
                                            std::span<const std::int64_t> seqlen_offsets) {
  if (cu_seqlens.empty()) return invalid("cu_seqlens", "want at least the entry 0, got none");
  if (cu_seqlens[0] != 0) return invalid("cu_seqlens[0]", "want 0, got " + std::to_string(cu_seqlens[0]));
  const std::size_t sequences = cu_seqlens.size() - 1;
  if (!seqlen_offsets.empty() && seqlen_offsets.size() != sequences)
    return invalid("seqlen_offsets", "want none or one a sequence (" + std::to_string(sequences) + "), got " +
                                         std::to_string(seqlen_offsets.size()));
  for (std::size_t s = 0; s < sequences; ++s) {
    if (cu_seqlens[s + 1] < cu_seqlens[s])
      return invalid(at("cu_seqlens", s + 1), "want a number >= " + std::to_string(cu_seqlens[s]) + ", got " +
                                                  std::to_string(cu_seqlens[s + 1]));
    const std::int64_t tokens = cu_seqlens[s + 1] - cu_seqlens[s];
    if (!seqlen_offsets.empty() && !fits(seqlen_offsets[s], tokens))
      return leaves_int64(at("seqlen_offsets", s), seqlen_offsets[s], tokens);
  }

  auto result = zeros(cu_seqlens.back());
  if (!result) return result;
  for (std::size_t s = 0; s < sequences; ++s) {
    const std::int64_t first = seqlen_offsets.empty() ? 0 : seqlen_offsets[s];
    for (std::int64_t i = cu_seqlens[s]; i < cu_seqlens[s + 1]; ++i)
      (*result)[static_cast<std::size_t>(i)] = first + (i - cu_seqlens[s]);
  }
  return result;
}

Result<Positions> positions_from_mask(std::span<const std::uint8_t> mask, std::int64_t batch, std::int64_t padding) {
  if (batch < 1) return invalid("batch", "want a number >= 1, got " + std::to_string(batch));
  const auto size = static_cast<std::int64_t>(mask.size());
  if (size % batch != 0)
    return invalid("mask", "want a multiple of " + std::to_string(batch) + " entries, got " + std::to_string(size));

  auto result = zeros(size);
  if (!result) return result;
  std::int64_t next = 0;
  for (std::int64_t i = 0; i < size; ++i) {
    if (i % (size / batch) == 0) next = 0;
    const auto at_i = static_cast<std::size_t>(i);
    (*result)[at_i] = mask[at_i] != 0 ? next++ : padding;
  }
  return result;
}

Result<Positions> positions_for_rank(std::int64_t tokens, int ranks, int rank, ShardScheme scheme, std::int64_t first) {
  if (auto error = tokens_error(tokens)) return *std::move(error);
  if (ranks < 1) return invalid("ranks", "want a number >= 1, got " + std::to_string(ranks));
  if (rank < 0 || rank >= ranks)
    return invalid("rank", "want a number in [0, " + std::to_string(ranks - 1) + "], got " + std::to_string(rank));
  const std::int64_t chunks = scheme == ShardScheme::kZigzag ? 2 * std::int64_t{ranks} : std::int64_t{ranks};
  if (tokens % chunks != 0)
    return invalid("tokens", "want a multiple of " + std::to_string(chunks) + ", got " + std::to_string(tokens));
  if (!fits(first, tokens)) return leaves_int64("first", first, tokens);

  const std::int64_t chunk = tokens / chunks;
  auto result = zeros(tokens / ranks);
  if (!result) return result;
  auto out = result->begin();
  const auto write_chunk = [&](std::int64_t index) {
    for (std::int64_t t = 0; t < chunk; ++t) *out++ = first + index * chunk + t;
  };
  write_chunk(rank);
  if (scheme == ShardScheme::kZigzag) write_chunk(chunks - 1 - rank);
  return result;
}

}  // namespace ropewalk
