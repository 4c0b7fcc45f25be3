// What tests/python/test_attention_vs_torch.py asks: one request a line, one answer a line, JSON. Numbers are flat.
//
//   "shape": [batch, tokens, keys, heads, kv_heads, head_dim, value_dim], "scale", "left", "right", "threads",
//   "q", "k", "v", "d_out": [batch, tokens, heads, channels]
//   ["query_starts", "key_starts", "temperature": [batch, tokens], "bias": [batch, heads, tokens, keys]]
//       -> "out", "d_q", "d_k", "d_v", "d_temperature", "d_score": as the bias
#include <ropewalk/attention.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace ropewalk;
using Json = nlohmann::json;
using Floats = std::vector<float>;

void passed(const std::optional<Error>& error) {
  if (error) throw std::runtime_error(error->line());
}

struct Shape {
  std::int64_t batch, tokens, keys, heads, kv_heads, dim, values;

  // Of one sequence, whose last query stands at the last key.
  std::size_t score(std::int64_t row, std::int64_t head, std::int64_t query, std::int64_t key) const {
    return static_cast<std::size_t>(((row * heads + head) * tokens + query - keys + tokens) * keys + key);
  }
};

struct Scores {
  Shape shape;
  Floats bias, d_score;

  static void fill(void* state, std::int64_t row, std::int64_t head, std::int64_t first_query, std::int64_t queries,
                   std::int64_t first_key, std::int64_t keys, float* out, std::int64_t stride) {
    const auto& my = *static_cast<const Scores*>(state);
    for (std::int64_t i = 0; i < queries; ++i)
      for (std::int64_t j = 0; j < keys; ++j)
        out[i * stride + j] = my.bias[my.shape.score(row, head, first_query + i, first_key + j)];
  }
  static void add(void* state, const ScoreGradientBlock& block) {
    auto& my = *static_cast<Scores*>(state);
    for (std::int64_t i = 0; i < block.queries; ++i)
      for (std::int64_t j = 0; j < block.keys; ++j)
        my.d_score[my.shape.score(block.row, block.head, block.first_query + i, block.first_key + j)] +=
            block.d_score[i * block.stride + j];
  }
};

Json answer(const Json& j) {
  const auto sizes = j.at("shape").get<std::vector<std::int64_t>>();
  const Shape s{sizes.at(0), sizes.at(1), sizes.at(2), sizes.at(3), sizes.at(4), sizes.at(5), sizes.at(6)};
  auto q = j.at("q").get<Floats>(), k = j.at("k").get<Floats>(), v = j.at("v").get<Floats>(),
       d_out = j.at("d_out").get<Floats>();
  auto temperature = j.value("temperature", Floats());
  const auto query_starts = j.value("query_starts", std::vector<std::int64_t>()),
             key_starts = j.value("key_starts", std::vector<std::int64_t>());
  Floats out(d_out.size()), d_q(q.size()), d_k(k.size()), d_v(v.size());
  Floats logs(static_cast<std::size_t>(s.batch * s.heads * s.tokens)),
      d_temperature(static_cast<std::size_t>(s.batch * s.tokens));
  Scores scores{s, j.value("bias", Floats()), Floats(logs.size() * static_cast<std::size_t>(s.keys))};
  const auto view = [&](Floats& x, std::int64_t tokens, std::int64_t heads, std::int64_t channels) {
    return HeadsView::bshd(x.data(), DType::kFloat32, s.batch, tokens, heads, channels);
  };
  const Attention attention{.q = view(q, s.tokens, s.heads, s.dim),
                            .k = view(k, s.keys, s.kv_heads, s.dim),
                            .v = view(v, s.keys, s.kv_heads, s.values),
                            .out = view(out, s.tokens, s.heads, s.values),
                            .softmax_scale = j.at("scale"),
                            .mask = {j.at("left"), j.at("right")},
                            .query_starts = query_starts,
                            .key_starts = key_starts,
                            .temperature = temperature.empty() ? nullptr : temperature.data(),
                            .temperature_batch_stride = s.tokens,
                            .bias = {&scores, scores.bias.empty() ? nullptr : Scores::fill},
                            .log_sum_exp = logs.data()};
  const AttentionGradients gradients{.d_out = view(d_out, s.tokens, s.heads, s.values),
                                     .d_q = view(d_q, s.tokens, s.heads, s.dim),
                                     .d_k = view(d_k, s.keys, s.kv_heads, s.dim),
                                     .d_v = view(d_v, s.keys, s.kv_heads, s.values),
                                     .d_temperature = d_temperature.data(),
                                     .d_score = {&scores, query_starts.empty() ? Scores::add : nullptr}};
  const int threads = j.at("threads");
  std::vector<std::byte> workspace(static_cast<std::size_t>(
      std::max(attention_workspace(attention, threads), attention_backward_workspace(attention, threads))));
  const AttentionCall call{.threads = threads, .workspace = workspace};
  passed(check_attention(attention, call));
  attend(attention, call);
  passed(check_attention_backward(attention, gradients, call));
  attend_backward(attention, gradients, call);
  return {{"out", out},
          {"d_q", d_q},
          {"d_k", d_k},
          {"d_v", d_v},
          {"d_temperature", d_temperature},
          {"d_score", scores.d_score}};
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    Json reply;
    try {
      reply = answer(Json::parse(line));
    } catch (const std::exception& error) {
      reply = {{"error", error.what()}};
    }
    std::cout << reply.dump() << std::endl;
  }
}
