// A decoder under position maps: however tokens come, and what a map leaves alone. That its distances are those of the
// papers is held in float64 by tests/cli/test_eval.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "runner/evaluator.hpp"
#include "runner/model.hpp"
#include "tiny_llama.hpp"

namespace {

using namespace ropewalk;
using namespace ropewalk::runner;

Model loaded(const tiny::Folder& folder, DType dtype = DType::kFloat32) {
  auto model = Model::load(folder.string(), {.dtype = dtype, .threads = 1});
  EXPECT_TRUE(model) << (model ? "" : model.error().line());
  return *std::move(model);
}

const std::vector<PositionMap>& maps() {
  static const std::vector<PositionMap> all = {SelfExtend{3, 16}, SelfExtend{4, 100}, ReRope{20},       ReRope{33, 2.5},
                                               DualChunk{40, 10}, DualChunk{9, 4},    DualChunk{64, 32}};
  return all;
}

/// Logits of the last `rows` of all ids, fed in stretches of so many.
std::vector<float> logits(const Model& model, const std::optional<PositionMap>& map,
                          const std::vector<std::int32_t>& ids, std::int64_t step, std::int64_t rows) {
  const auto count = static_cast<std::int64_t>(ids.size());
  auto decoder = Decoder::make(model, {.capacity = count, .map = map});
  EXPECT_TRUE(decoder) << (decoder ? "" : decoder.error().line());
  std::vector<float> out;
  for (std::int64_t first = 0; first < count; first += step) {
    const std::int64_t here = std::min(step, count - first);
    EXPECT_FALSE(decoder->feed({ids.data() + first, static_cast<std::size_t>(here)}));
    const std::int64_t skipped = std::max(count - rows - first, std::int64_t{0});
    if (skipped >= here) continue;
    auto more = decoder->logits(skipped, here - skipped);
    EXPECT_TRUE(more);
    out.insert(out.end(), more->begin(), more->end());
  }
  return out;
}

float largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  float largest = 0.0f;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::fabs(a[i] - b[i]));
  return largest;
}

class RunnerMaps : public testing::Test {
 protected:
  void SetUp() override { tiny::write_model(folder_); }
  tiny::Folder folder_;
};

TEST_F(RunnerMaps, StretchesOfAnyLengthGiveTheSameLogits) {
  const Model model = loaded(folder_);
  const auto ids = tiny::ids(170);
  const auto plain = logits(model, std::nullopt, ids, 170, 170);
  for (const PositionMap& map : maps()) {
    const auto whole = logits(model, map, ids, 170, 170);
    EXPECT_GT(largest_difference(whole, plain), 1e-2f) << to_string(map);
    for (const std::int64_t step : {1, 7, 64, 100})
      EXPECT_LT(largest_difference(logits(model, map, ids, step, 170), whole), 1e-4f) << to_string(map) << " " << step;
  }
}

TEST_F(RunnerMaps, LongerThanTheRunnersOwnChunk) {
  const Model model = loaded(folder_);
  const auto ids = tiny::ids(1100);
  for (const PositionMap& map :
       {PositionMap{SelfExtend{8, 200}}, PositionMap{ReRope{700}}, PositionMap{DualChunk{400, 50}}})
    EXPECT_LT(largest_difference(logits(model, map, ids, 1100, 20), logits(model, map, ids, 333, 20)), 1e-4f)
        << to_string(map);
}

// Up to unmapped_tokens() not a bit changes; with Self-Extend by 1 and leaky ReRoPE by 1, nowhere.
TEST_F(RunnerMaps, NothingChangesWithinTheWindow) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    auto model = Model::load(folder_.string(), {.dtype = dtype, .threads = 1});
    if (!model && model.error().code == Code::kUnavailable) continue;  // no bf16 in oneDNN here
    ASSERT_TRUE(model) << model.error().line();
    for (PositionMap map : maps()) {
      const auto ids = tiny::ids(unmapped_tokens(map));
      for (const std::int64_t step : {std::int64_t{1}, unmapped_tokens(map)})
        EXPECT_EQ(logits(*model, map, ids, step, 300), logits(*model, std::nullopt, ids, step, 300)) << to_string(map);
      const auto longer = tiny::ids(unmapped_tokens(map) + 20);
      EXPECT_NE(logits(*model, map, longer, 300, 1), logits(*model, std::nullopt, longer, 300, 1)) << to_string(map);
    }
    for (const PositionMap& map : {PositionMap{SelfExtend{1, 5}}, PositionMap{ReRope{5, 1.0}}})
      EXPECT_EQ(logits(*model, map, tiny::ids(300), 300, 300), logits(*model, std::nullopt, tiny::ids(300), 300, 300));
  }
}

TEST_F(RunnerMaps, Bf16IsNearFloat32) {
  const Model exact = loaded(folder_);
  auto rounded = Model::load(folder_.string(), {.dtype = DType::kBFloat16, .threads = 1});
  if (!rounded && rounded.error().code == Code::kUnavailable) GTEST_SKIP() << rounded.error().line();
  const auto ids = tiny::ids(150);
  const auto error = [&](const std::optional<PositionMap>& map) {
    const auto want = logits(exact, map, ids, 150, 150);
    const auto got = logits(*rounded, map, ids, 150, 150);
    double wrong = 0.0, all = 0.0;
    for (std::size_t i = 0; i < want.size(); ++i) {
      const double w = static_cast<double>(want[i]), d = static_cast<double>(got[i]) - w;
      wrong += d * d, all += w * w;
    }
    return std::sqrt(wrong / all);
  };
  const double plain = error(std::nullopt);
  EXPECT_GT(plain, 0.0);
  for (const PositionMap& map : maps()) EXPECT_LT(error(map), 2.0 * plain) << to_string(map);
}

TEST_F(RunnerMaps, ChunksDoNotChangeAMeasuredLoss) {
  const Model model = loaded(folder_);
  const auto ids = tiny::ids(200);
  for (const PositionMap& map : maps()) {
    const WindowTask task{
        .length = 200, .scaling = "own", .first_token = 0, .scored_first = 100, .scored_end = 200, .map = map};
    auto whole = measure(model, ids, task);
    ASSERT_TRUE(whole) << whole.error().line();
    for (const std::int64_t chunk : {1, 13, 200}) {
      auto again = measure(model, ids, task, {.chunk = chunk});
      ASSERT_TRUE(again);
      EXPECT_NEAR(again->nll_sum, whole->nll_sum, 1e-4 * whole->nll_sum) << to_string(map) << " " << chunk;
    }
    const auto rows = logits(model, map, ids, 200, 200);
    double sum = 0.0;
    for (std::size_t t = 99; t < 199; ++t) {
      double total = 0.0;
      for (std::size_t i = 0; i < 256; ++i) total += std::exp(static_cast<double>(rows[t * 256 + i]));
      sum += std::log(total) - static_cast<double>(rows[t * 256 + static_cast<std::size_t>(ids[t + 1])]);
    }
    EXPECT_NEAR(whole->nll_sum, sum, 1e-4 * sum);
  }
}

TEST_F(RunnerMaps, KeysOfTwoTurnsTakeTheirMemory) {
  const Model model = loaded(folder_);
  const std::int64_t length = 1 << 20;
  const std::int64_t keys = length * 2 * 8 * 4;  // key heads, channels, bytes
  const std::int64_t plain = memory_needed(model, length);
  const std::int64_t dual = memory_needed(model, length, DualChunk{40, 10});
  EXPECT_GT(dual, plain);
  EXPECT_LT(dual, plain + (1 << 22));
  EXPECT_GT(memory_needed(model, length, ReRope{40}), plain + keys);
  EXPECT_LT(memory_needed(model, length, ReRope{40}), plain + keys + (1 << 22));
}

TEST_F(RunnerMaps, WhatAMapCannotDoIsRefusedAndChangesNothing) {
  const Model model = loaded(folder_);
  const auto ids = tiny::ids(60);
  EXPECT_EQ(Decoder::make(model, {.capacity = 60, .map = ReRope{0}}).error().path, "window");
  EXPECT_EQ(Decoder::make(model, {.capacity = 60, .origin = 5, .map = ReRope{8}}).error().path, "origin");
  auto decoder = Decoder::make(model, {.capacity = 60, .map = SelfExtend{2, 10}});
  ASSERT_TRUE(decoder);
  ASSERT_FALSE(decoder->feed({ids.data(), 40}));
  const auto why = [](const std::optional<Error>& error) { return error ? error->path : std::string("nothing"); };
  EXPECT_EQ(why(decoder->forget_first(10)), "map");
  EXPECT_EQ(why(decoder->move(10)), "map");
  EXPECT_EQ(why(decoder->rescale(model.positions().kinds, 60)), "map");
  ASSERT_FALSE(decoder->feed({ids.data() + 40, 20}));
  EXPECT_LT(largest_difference(*decoder->logits(0, 20), logits(model, SelfExtend{2, 10}, ids, 60, 20)), 1e-4f);
  ASSERT_FALSE(decoder->rewind(30));
  ASSERT_FALSE(decoder->feed({ids.data() + 30, 30}));
  EXPECT_LT(largest_difference(*decoder->logits(10, 20), logits(model, SelfExtend{2, 10}, ids, 60, 20)), 1e-4f);
}

// A layer that sees a sliding window only keeps its positions, however small a map's own window is.
TEST(RunnerMapsGemma, SlidingLayersKeepTheirPositions) {
  const std::string sliding = "sliding_attention", full = "full_attention";
  const auto ids = tiny::ids(120);
  {
    const tiny::Folder folder;
    tiny::write_gemma(folder, {sliding, sliding}, 16);
    const Model model = loaded(folder);
    EXPECT_EQ(logits(model, ReRope{4}, ids, 120, 120), logits(model, std::nullopt, ids, 120, 120));
  }
  const tiny::Folder folder;
  tiny::write_gemma(folder, {sliding, full, sliding}, 16);
  const Model model = loaded(folder);
  for (const PositionMap& map : maps()) {
    const auto whole = logits(model, map, ids, 120, 120);
    EXPECT_LT(largest_difference(whole, logits(model, map, ids, 50, 120)), 1e-3f) << to_string(map);
    if (unmapped_tokens(map) < 60) {
      EXPECT_GT(largest_difference(whole, logits(model, std::nullopt, ids, 120, 120)), 1e-3f) << to_string(map);
    }
  }
}

CheckpointPositions trained_for(std::int64_t context) {
  CheckpointPositions positions;
  positions.trained_context = context;
  positions.kinds.push_back({"default", {0}, 64, RotarySpec{}});
  return positions;
}

// Whatever the trained length and the context: no distance that was not trained, and no group that could be smaller.
TEST(RunnerMapsPlan, AutoStaysBelowTheTrainedLength) {
  for (const std::int64_t trained : {4, 5, 7, 16, 63, 64, 100, 2048, 8192})
    for (const std::int64_t times : {1, 2, 3, 7, 64, 1000})
      for (const std::int64_t more : {0, 1, 17})
        for (const char* name : {"self-extend", "rerope", "leaky-rerope", "dual-chunk"}) {
          const std::int64_t length = trained * times + more;
          const auto resolved = resolve(trained_for(trained), {.name = name}, length);
          ASSERT_TRUE(resolved) << resolved.error().line();
          ASSERT_TRUE(resolved->map);
          const double largest = largest_mapped_distance(*resolved->map, length);
          ASSERT_LE(largest, static_cast<double>(trained - 1) * (1 + 1e-12)) << name << " " << trained << " " << length;
          const auto* const extend = std::get_if<SelfExtend>(&*resolved->map);
          if (extend != nullptr && extend->group > 1) {
            ASSERT_GE(largest_mapped_distance(SelfExtend{extend->group - 1, extend->window}, length),
                      static_cast<double>(trained));
          }
          if (times == 1 && more == 0 && takes_factor(name)) {
            ASSERT_EQ(resolved->factor, 1.0);
          }
        }
  EXPECT_EQ(*resolve(trained_for(2048), {.name = "dual-chunk"}, 9999)->map, PositionMap(DualChunk{1536, 128}));
}

TEST(RunnerMapsPlan, WhatDoesNotFitIsRefused) {
  const auto why = [](const ScalingChoice& choice, std::int64_t trained = 64) {
    const auto resolved = resolve(trained_for(trained), choice, 128);
    return resolved ? std::string("resolved") : resolved.error().line();
  };
  EXPECT_EQ(why({.name = "self-extend", .factor = 4.0, .window = 63}), "resolved");
  EXPECT_EQ(why({.name = "self-extend", .window = 64}),
            "--scaling: want a window of self-extend from 1 to 63 for a checkpoint trained on 64 tokens, got 64");
  EXPECT_EQ(why({.name = "self-extend", .factor = 2.5}),
            "--scaling: want a whole number up to 2^40 as the group of self-extend, got 2.5");
  EXPECT_EQ(why({.name = "leaky-rerope", .factor = 0.5}), "--factor: want a number >= 1, got 0.5");
  EXPECT_EQ(why({.name = "dual-chunk", .chunk = 64}),
            "--scaling: want a chunk of dual-chunk from 1 to 63 for a checkpoint trained on 64 tokens, got 64");
  EXPECT_NE(why({.name = "rerope"}, 0), "resolved");
  EXPECT_NE(why({.name = "rerope"}, 1), "resolved");
}

TEST(RunnerMapsPlan, AMapGoesWithTheCheckpointsOwnFrequencies) {
  auto positions = trained_for(64);
  positions.kinds[0].spec->scaling = LinearOptions{.factor = 3.0};
  const auto tasks =
      plan_windows(positions, 400,
                   {.lengths = {128}, .scalings = {{.name = "rerope"}, {.name = "rerope", .window = 16}}, .score = 9});
  ASSERT_TRUE(tasks) << tasks.error().line();
  ASSERT_EQ(tasks->size(), 1u) << "the same map is run once";
  EXPECT_EQ((*tasks)[0].map, PositionMap(ReRope{16}));
  EXPECT_EQ((*kinds_of(positions, (*tasks)[0]))[0].spec->scaling, positions.kinds[0].spec->scaling);
  EXPECT_FALSE(scaled_kinds(positions, "rerope", 1.0)) << "it is no scaling";
}

}  // namespace
