// What is added instead of turned: sinusoids on embeddings, and biases on scores. Returns other than 0 if what it shows
// is not so.
#include <ropewalk/ropewalk.hpp>

#include <cmath>
#include <cstdio>
#include <numeric>
#include <vector>

namespace {

int refused(const ropewalk::Error& error) {
  std::fprintf(stderr, "%s\n", error.line().c_str());
  return 1;
}

int add_sinusoids() {
  std::vector<float> embeddings(3 * 512, 0.01f);
  // region sinusoids
  ropewalk::SinusoidalSpec spec;
  spec.dim = 512;
  spec.order = ropewalk::SinusoidOrder::kConcatenated;  // Marian: all sines, then all cosines
  spec.exponent = ropewalk::SinusoidExponent::kPaper;   // 10000^(-k / 256); no default, checkpoints differ
  const auto sinusoidal = ropewalk::Sinusoidal::make(spec);
  if (!sinusoidal) return refused(sinusoidal.error());

  const std::vector<std::int64_t> positions{0, 1, 10'000'000};
  const auto x = ropewalk::EmbeddingsView::contiguous(embeddings.data(), ropewalk::DType::kFloat32, 1, 3, 512);
  const auto where = ropewalk::PositionsView::row(positions);
  if (const auto error = sinusoidal->check(x, x, where)) return refused(*error);
  sinusoidal->add(x, x, where, {.embedding_scale = std::sqrt(512.0f)});  // x = sqrt(dim) x + row of the position
  // endregion
  const float scaled = 0.01f * std::sqrt(512.0f);
  return std::abs(embeddings[2 * 512] - scaled - static_cast<float>(std::sin(1e7))) < 1e-6f ? 0 : 1;
}

int grow_a_table() {
  const std::vector<float> table(197 * 768, 0.5f);
  // region resize
  ropewalk::TableResize resize;  // ViT-B/16 from 224 to 384 pixels: 14 x 14 patches to 24 x 24
  resize.rows = resize.columns = 14;
  resize.new_rows = resize.new_columns = 24;
  resize.resampling = ropewalk::Resampling::kCubic;
  resize.leading_rows = 1;  // the class token's row stays
  std::vector<float> larger(static_cast<std::size_t>(resize.rows_out()) * 768);
  if (const auto error = ropewalk::resize_table(resize, 768, table, larger)) return refused(*error);
  // endregion
  return larger.size() == 577 * 768 && std::abs(larger.back() - 0.5f) < 1e-6f ? 0 : 1;
}

int fill_biases() {
  std::vector<float> scores(8 * 64 * 4096), expected(scores.size());
  // region bias
  const auto bias = ropewalk::ScoreBias::make(ropewalk::AlibiBias{.heads = 8});
  if (!bias) return refused(bias.error());

  // Queries 131072 ... 131135 and the 4096 keys that end with them: a block, [heads, queries, keys].
  const auto queries = ropewalk::BiasAxis::range(131'072, 64), keys = ropewalk::BiasAxis::range(127'040, 4096);
  const auto block = ropewalk::BiasView::contiguous(scores.data(), 64, 4096);
  if (const auto error = bias->check(queries, keys, block)) return refused(*error);
  bias->fill(queries, keys, block);

  // The same as a vector a head, for the distance is all that counts: distances -63 ... 4095.
  std::vector<float> by_distance(8 * 4159);
  if (const auto error = bias->toeplitz(-63, by_distance)) return refused(*error);
  // endregion
  for (std::int64_t h = 0; h < 8; ++h)
    for (std::int64_t i = 0; i < 64; ++i)
      for (std::int64_t j = 0; j < 4096; ++j) {
        const std::int64_t distance = queries.at(i) - keys.at(j);
        if (block.at(h, i, j) != by_distance[static_cast<std::size_t>(h * 4159 + distance + 63)]) return 1;
      }
  return block.at(0, 0, 4031) == -0.5f ? 0 : 1;  // head 0 falls by a half for each token
}

int learn_a_bias() {
  // region gradient
  ropewalk::T5Bias options{.heads = 2, .causal = true};
  options.table.assign(32 * 2, 0.1f);  // [num_buckets, heads], as `relative_attention_bias.weight`
  const auto bias = ropewalk::ScoreBias::make(options);
  if (!bias) return refused(bias.error());

  const std::vector<float> d_scores(2 * 16 * 16, 1.0f);  // of the scores: what the softmax hands back
  std::vector<double> d_table(bias->parameter_count());
  const auto tokens = ropewalk::BiasAxis::range(0, 16);
  const auto d_block = ropewalk::ConstBiasView::contiguous(d_scores.data(), 16, 16);
  if (const auto error = bias->add_gradient(tokens, tokens, d_block, d_table)) return refused(*error);
  // endregion
  return std::accumulate(d_table.begin(), d_table.end(), 0.0) == 2.0 * 16 * 16 ? 0 : 1;
}

}  // namespace

int main() {
  if (const int code = add_sinusoids()) return code;
  if (const int code = grow_a_table()) return code;
  if (const int code = fill_biases()) return code;
  return learn_a_bias();
}
