// Which tokens are scored behind which contexts, and what is made of the losses.
#include "runner/evaluator.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>
#include <vector>

namespace {

using namespace ropewalk;
using namespace ropewalk::runner;

CheckpointPositions trained_for(std::int64_t context) {
  CheckpointPositions positions;
  positions.trained_context = context;
  positions.kinds.push_back({"default", {0}, 64, RotarySpec{}});
  positions.kinds.push_back({"still", {1}, 64, std::nullopt});
  return positions;
}

PlanOptions options(std::vector<std::int64_t> lengths, std::vector<ScalingChoice> scalings, int windows = 1) {
  return {.lengths = std::move(lengths), .scalings = std::move(scalings), .score = 100, .windows = windows};
}

TEST(RunnerPlan, EveryLengthScoresTheSameTokensOfAWindow) {
  auto tasks = plan_windows(trained_for(1000), 20000, options({4000, 1000, 2000}, {{"none", {}}, {"yarn", {}}}, 3));
  ASSERT_TRUE(tasks) << tasks.error().line();
  EXPECT_EQ(tasks->size(), 18u);
  std::set<std::pair<std::int64_t, std::int64_t>> scored;
  for (const WindowTask& task : *tasks) {
    EXPECT_EQ(task.scored_end - task.scored_first, 100);
    EXPECT_EQ(task.first_token, task.scored_end - task.length);
    EXPECT_GE(task.first_token, 0);
    EXPECT_LE(task.scored_end, 20000);
    EXPECT_EQ(task.factor, task.scaling == "none" ? 1.0 : static_cast<double>(task.length) / 1000.0);
    scored.emplace(task.scored_first, task.scored_end);
  }
  EXPECT_EQ(scored.size(), 3u);
  EXPECT_EQ(scored.begin()->second, 4000 + 16000 / 6);
  EXPECT_TRUE(std::is_sorted(tasks->begin(), tasks->end(),
                             [](const WindowTask& a, const WindowTask& b) { return a.length < b.length; }));
}

TEST(RunnerPlan, AutoNeverShrinksAndEqualRunsAreKeptOnce) {
  auto tasks = plan_windows(trained_for(1000), 5000, options({500, 500}, {{"linear", {}}, {"linear", 1.0}}));
  ASSERT_TRUE(tasks);
  ASSERT_EQ(tasks->size(), 1u);
  EXPECT_EQ(tasks->front().factor, 1.0);
}

TEST(RunnerPlan, ATextThatJustHoldsTheLongestContext) {
  auto tasks = plan_windows(trained_for(1000), 2000, options({2000}, {{"none", {}}}));
  ASSERT_TRUE(tasks);
  EXPECT_EQ(tasks->front().first_token, 0);
  EXPECT_EQ(tasks->front().scored_end, 2000);
}

TEST(RunnerPlan, WhatCannotBeDoneIsRefusedWithItsOption) {
  const auto path = [](const CheckpointPositions& positions, std::int64_t text, const PlanOptions& plan) {
    auto tasks = plan_windows(positions, text, plan);
    return tasks ? std::string("planned") : tasks.error().path;
  };
  const auto positions = trained_for(1000);
  EXPECT_EQ(path(positions, 5000, options({}, {{"none", {}}})), "--lengths");
  EXPECT_EQ(path(positions, 5000, options({100}, {{"none", {}}})), "--lengths");
  EXPECT_EQ(path(positions, 5000, options({-7}, {{"none", {}}})), "--lengths");
  EXPECT_EQ(path(positions, 5000, options({5001}, {{"none", {}}})), "--lengths");
  EXPECT_EQ(path(positions, 5000, options({std::numeric_limits<std::int64_t>::max()}, {{"none", {}}})), "--lengths");
  EXPECT_EQ(path(positions, 5000, options({1000}, {})), "--scaling");
  EXPECT_EQ(path(positions, 5000, options({1000}, {{"alibi", {}}})), "--scaling");
  EXPECT_EQ(path(positions, 5000, options({1000}, {{"yarn", 0.5}})), "--factor");
  EXPECT_EQ(path(positions, 5000, options({1000}, {{"yarn", std::nan("")}})), "--factor");
  EXPECT_EQ(path(positions, 5000, options({1000}, {{"none", {}}}, 0)), "--windows");
  EXPECT_EQ(path(positions, 5000, options({1000}, {{"none", {}}}, 1000)), "--windows");
  EXPECT_EQ(path(trained_for(0), 5000, options({1000}, {{"yarn", {}}})), "--scaling");
  EXPECT_EQ(path(trained_for(0), 5000, options({1000}, {{"none", {}}})), "planned");
  auto plan = options({1000}, {{"none", {}}});
  plan.score = 0;
  EXPECT_EQ(path(positions, 5000, plan), "--score");
}

TEST(RunnerPlan, ByPositionScoresAllButTheFirst) {
  auto task = plan_by_position(trained_for(1000), 5000, 3000, {"dynamic", 2.0}, 500);
  ASSERT_TRUE(task) << task.error().line();
  EXPECT_EQ(*task, (WindowTask{3000, "dynamic", 2.0, 0, 500, 501, 3500}));
  EXPECT_FALSE(plan_by_position(trained_for(1000), 5000, 4600, {"none", {}}, 500));
  EXPECT_FALSE(plan_by_position(trained_for(1000), 5000, 1, {"none", {}}));
}

TEST(RunnerPlan, ScaledKindsReplaceOnlyWhatRotates) {
  auto kinds = scaled_kinds(trained_for(1000), "yarn", 2.0);
  ASSERT_TRUE(kinds) << kinds.error().line();
  ASSERT_EQ(kinds->size(), 2u);
  const auto* const yarn = std::get_if<YarnOptions>(&(*kinds)[0].spec->scaling);
  ASSERT_NE(yarn, nullptr);
  EXPECT_EQ(yarn->factor, 2.0);
  EXPECT_EQ(yarn->trained_context, 1000);
  EXPECT_FALSE((*kinds)[1].spec);
  auto own = trained_for(1000);
  own.kinds[0].spec->scaling = LinearOptions{.factor = 3.0};
  EXPECT_EQ((*scaled_kinds(own, "own", 1.0))[0].spec->scaling, own.kinds[0].spec->scaling);
  EXPECT_EQ((*scaled_kinds(own, "none", 1.0))[0].spec->scaling, Scaling{NoScaling{}});
}

TEST(RunnerPlan, KindsThatSeeAWindowKeepTheirOwnScaling) {
  CheckpointPositions two;
  two.trained_context = 1000;
  two.kinds.push_back(
      {"sliding_attention", {0}, 64, RotarySpec{.theta = 1e4, .scaling = LinearOptions{.factor = 2.0}}});
  two.kinds.push_back({"full_attention", {1}, 64, RotarySpec{.theta = 1e6, .scaling = LinearOptions{.factor = 8.0}}});
  for (const char* scaling : {"none", "linear", "yarn"}) {
    auto kinds = scaled_kinds(two, scaling, 4.0);
    ASSERT_TRUE(kinds) << kinds.error().line();
    EXPECT_EQ((*kinds)[0].spec->scaling, two.kinds[0].spec->scaling) << scaling;
    EXPECT_NE((*kinds)[1].spec->scaling, two.kinds[1].spec->scaling) << scaling;
  }
}

WindowRecord record(std::int64_t length, const char* scaling, std::vector<float> nll, double speed) {
  WindowRecord out{.task = {.length = length, .scaling = scaling}, .tokens_seen = length, .tokens_per_second = speed};
  out.task.scored_end = length;
  out.task.scored_first = length - static_cast<std::int64_t>(nll.size());
  for (const float x : nll) out.nll_sum += double{x};
  out.nll = std::move(nll);
  return out;
}

TEST(RunnerSummary, MeansSpreadsAndSpeedsAreOverWindows) {
  const std::vector<WindowRecord> records = {record(100, "none", {1, 3}, 50), record(100, "yarn", {2, 2}, 100),
                                             record(100, "none", {3, 5}, 25)};
  const auto rows = summarize(records);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].windows, 2);
  EXPECT_DOUBLE_EQ(rows[0].mean_nll, 3.0);
  EXPECT_DOUBLE_EQ(rows[0].perplexity, std::exp(3.0));
  EXPECT_DOUBLE_EQ(rows[0].spread, std::sqrt(2.0));
  EXPECT_DOUBLE_EQ(rows[0].tokens_per_second, 200.0 / 6.0);
  EXPECT_EQ(rows[1].spread, 0.0);
  EXPECT_TRUE(summarize({}).empty());
}

TEST(RunnerSummary, BucketsCoverEveryScoredToken) {
  const auto buckets = bucket_by_position(record(8, "none", {1, 2, 3, 4, 5, 6, 7}, 1), 3);
  ASSERT_EQ(buckets.size(), 3u);
  EXPECT_EQ(buckets[0].first, 1);
  EXPECT_EQ(buckets[0].end, 4);
  EXPECT_DOUBLE_EQ(buckets[0].mean_nll, 2.0);
  EXPECT_EQ(buckets[2].first, 7);
  EXPECT_EQ(buckets[2].end, 8);
  EXPECT_DOUBLE_EQ(buckets[2].mean_nll, 7.0);
}

}  // namespace
