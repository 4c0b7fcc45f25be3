#include <ropewalk/layout.hpp>

#include <cstring>
#include <functional>
#include <string>
#include <utility>

namespace ropewalk {
namespace {

constexpr int kMostChannels = 1 << 20;

Error invalid(std::string path, const std::string& want, std::int64_t got) {
  return {Code::kInvalid, std::move(path), "want " + want + ", got " + std::to_string(got)};
}

std::optional<Error> check(PairLayout from, PairLayout to, const HeadChannels& head) {
  if (head.head_dim < 1 || head.head_dim > kMostChannels)
    return invalid("head_dim", "a number from 1 to " + std::to_string(kMostChannels), head.head_dim);
  if (head.rotary_offset < 0 || head.rotary_offset >= head.head_dim)
    return invalid("rotary_offset", "a number from 0 to " + std::to_string(head.head_dim - 1), head.rotary_offset);
  if (head.rotary_dim < 2 || head.rotary_dim % 2 != 0 || head.rotary_dim > head.head_dim - head.rotary_offset)
    return invalid("rotary_dim", "an even number from 2 to " + std::to_string(head.head_dim - head.rotary_offset),
                   head.rotary_dim);
  for (const auto& [path, layout] : {std::pair{"from", from}, std::pair{"to", to}})
    if (layout != PairLayout::kInterleaved && layout != PairLayout::kHalf)
      return Error{Code::kInvalid, path, "want half or interleaved, got " + std::string(name_of(layout))};
  return std::nullopt;
}

}  // namespace

Result<std::vector<int>> channel_order(PairLayout from, PairLayout to, const HeadChannels& head) {
  if (auto error = check(from, to, head)) return *std::move(error);
  std::vector<int> order(static_cast<std::size_t>(head.head_dim));
  for (int c = 0; c < head.head_dim; ++c) order[static_cast<std::size_t>(c)] = c;
  const int pairs = head.rotary_dim / 2;
  for (int pair = 0; pair < pairs; ++pair) {
    const ChannelPair old = channels_of(from, pair, pairs), now = channels_of(to, pair, pairs);
    order[static_cast<std::size_t>(head.rotary_offset + now.first)] = head.rotary_offset + old.first;
    order[static_cast<std::size_t>(head.rotary_offset + now.second)] = head.rotary_offset + old.second;
  }
  return order;
}

std::optional<Error> permute_rows(PairLayout from, PairLayout to, const HeadChannels& head, std::int64_t heads,
                                  std::int64_t row_bytes, std::span<const std::byte> from_rows,
                                  std::span<std::byte> to_rows) {
  const auto order = channel_order(from, to, head);
  if (!order) return order.error();
  if (heads < 0) return invalid("heads", "a number >= 0", heads);
  if (row_bytes < 1) return invalid("row_bytes", "a number >= 1", row_bytes);
  std::int64_t want = 0;
  const bool overflows = __builtin_mul_overflow(heads, row_bytes, &want) ||
                         __builtin_mul_overflow(want, std::int64_t{head.head_dim}, &want);
  for (const auto& [path, bytes] : {std::pair{"from_rows", from_rows.size()}, std::pair{"to_rows", to_rows.size()}})
    if (overflows || static_cast<std::size_t>(want) != bytes)
      return Error{Code::kInvalid, path,
                   "want heads * head_dim * row_bytes bytes (" + std::to_string(heads) + " * " +
                       std::to_string(head.head_dim) + " * " + std::to_string(row_bytes) + "), got " +
                       std::to_string(bytes)};
  const std::less<const std::byte*> before;
  if (want > 0 && before(from_rows.data(), to_rows.data() + want) && before(to_rows.data(), from_rows.data() + want))
    return Error{Code::kInvalid, "to_rows", "want rows of their own, got rows that overlap from_rows"};

  const auto row = static_cast<std::size_t>(row_bytes);
  const std::byte* in = from_rows.data();
  std::byte* out = to_rows.data();
  for (std::int64_t h = 0; h < heads; ++h, in += order->size() * row)
    for (const int c : *order) {
      std::memcpy(out, in + static_cast<std::size_t>(c) * row, row);
      out += row;
    }
  return std::nullopt;
}

}  // namespace ropewalk
