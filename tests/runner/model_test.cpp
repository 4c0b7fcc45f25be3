// Loading, decoding and measuring on a small random model, and what is refused.
#include "runner/model.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "runner/evaluator.hpp"
#include "tiny_llama.hpp"

namespace {

using namespace ropewalk;
using namespace ropewalk::runner;
using tiny::json;

Model loaded(const tiny::Folder& folder, DType dtype = DType::kFloat32) {
  auto model = Model::load(folder.string(), {.dtype = dtype, .threads = 2});
  EXPECT_TRUE(model) << (model ? "" : model.error().line());
  return *std::move(model);
}

std::string why_not(const tiny::Folder& folder) {
  auto model = Model::load(folder.string());
  return model ? std::string("it loads") : model.error().line();
}

float largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  float largest = 0.0f;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::fabs(a[i] - b[i]));
  return largest;
}

class RunnerModel : public testing::Test {
 protected:
  void SetUp() override { tiny::write_model(folder_); }
  tiny::Folder folder_;
};

TEST_F(RunnerModel, PrefillEqualsStepByStep) {
  const Model model = loaded(folder_);
  const auto ids = tiny::ids(150);
  auto whole = Decoder::make(model, {.capacity = 150});
  auto steps = Decoder::make(model, {.capacity = 150});
  ASSERT_TRUE(whole && steps);
  ASSERT_FALSE(whole->feed(ids));
  auto want = whole->logits(0, 150);
  ASSERT_TRUE(want);
  for (std::size_t t = 0; t < ids.size(); ++t) {
    ASSERT_FALSE(steps->feed({ids.data() + t, 1}));
    auto got = steps->logits(0, 1);
    ASSERT_TRUE(got);
    const auto row = want->begin() + static_cast<std::ptrdiff_t>(t * 256);
    ASSERT_LT(largest_difference(*got, {row, row + 256}), 1e-4f) << "token " << t;
  }
  EXPECT_EQ(steps->length(), 150);
}

TEST_F(RunnerModel, UnevenChunksAndRewindingChangeNothing) {
  const Model model = loaded(folder_);
  const auto ids = tiny::ids(700);  // more than a chunk
  auto whole = Decoder::make(model, {.capacity = 700});
  ASSERT_TRUE(whole);
  ASSERT_FALSE(whole->feed(ids));
  auto want = whole->logits(690, 10);
  auto parts = Decoder::make(model, {.capacity = 700});
  ASSERT_TRUE(parts);
  ASSERT_FALSE(parts->feed({ids.data(), 65}));
  ASSERT_FALSE(parts->feed({ids.data() + 300, 200}));  // a wrong turn
  ASSERT_FALSE(parts->rewind(65));
  ASSERT_FALSE(parts->feed({ids.data() + 65, 600}));
  ASSERT_FALSE(parts->feed({ids.data() + 665, 35}));
  auto got = parts->logits(25, 10);
  ASSERT_TRUE(want && got);
  EXPECT_LT(largest_difference(*want, *got), 1e-4f);
}

// ---- caches that move

std::vector<float> logits_behind(Decoder& decoder, std::span<const std::int32_t> ids) {
  EXPECT_FALSE(decoder.feed(ids));
  auto logits = decoder.logits(0, static_cast<std::int64_t>(ids.size()));
  EXPECT_TRUE(logits);
  return logits ? *logits : std::vector<float>{};
}

// Attention sees distances alone, so a sequence may stand anywhere, if its keys are told.
TEST_F(RunnerModel, AMovedCacheContinuesAsAFreshPrefillThere) {
  const Model model = loaded(folder_);
  const auto ids = tiny::ids(340);
  const std::span<const std::int32_t> cached(ids.data(), 300), next(ids.data() + 300, 40);
  for (const std::int64_t delta : {150, -150, 100000}) {
    auto fresh = Decoder::make(model, {.capacity = 340, .origin = delta});
    auto moved = Decoder::make(model, {.capacity = 340});
    auto left = Decoder::make(model, {.capacity = 340});
    ASSERT_TRUE(fresh && moved && left);
    for (Decoder* const d : {&*fresh, &*moved, &*left}) ASSERT_FALSE(d->feed(cached));
    ASSERT_FALSE(moved->move(delta));
    ASSERT_FALSE(left->move(delta, CachedKeys::kLeft));
    EXPECT_EQ(moved->origin(), delta);
    EXPECT_EQ(moved->last_fed(), 0);
    const std::vector<float> want = logits_behind(*fresh, next);
    EXPECT_LT(largest_difference(want, logits_behind(*moved, next)), 1e-4f) << delta;
    EXPECT_GT(largest_difference(want, logits_behind(*left, next)), 1e-2f) << delta;
  }
}

// A context shift: the first tokens go, the others move to the front, again and again.
TEST_F(RunnerModel, AContextThatSlidesContinuesAsOneThatNeverMoved) {
  const Model model = loaded(folder_);
  const auto ids = tiny::ids(500);
  auto slides = Decoder::make(model, {.capacity = 200});
  auto stands = Decoder::make(model, {.capacity = 200});
  ASSERT_TRUE(slides && stands);
  std::size_t fed = 0;
  for (const std::size_t count : {200u, 77u, 100u, 1u, 99u}) {
    const auto room = slides->length() + static_cast<std::int64_t>(count) - 200;
    if (room > 0) {
      ASSERT_FALSE(slides->forget_first(room));
      ASSERT_FALSE(slides->move(-room));
      ASSERT_FALSE(stands->forget_first(room));
      EXPECT_EQ(slides->origin(), 0);
    }
    const std::span<const std::int32_t> next(ids.data() + fed, count);
    EXPECT_LT(largest_difference(logits_behind(*stands, next), logits_behind(*slides, next)), 1e-4f) << fed;
    EXPECT_EQ(slides->length(), stands->length());
    fed += count;
  }
  EXPECT_EQ(stands->origin(), 277);
}

// With one layer, keys are made from embeddings that no scaling has touched: equal to a fresh prefill but for rounding.
TEST_F(RunnerModel, ACacheIsCarriedOverToAnotherScaling) {
  tiny::Folder folder;
  tiny::write_model(folder, {.layers = 1});
  const Model model = loaded(folder);
  const auto ids = tiny::ids(340);
  const std::span<const std::int32_t> cached(ids.data(), 300), next(ids.data() + 300, 40);
  const auto kinds = [&](const char* name, double factor) {
    auto scaled = scaled_kinds(model.positions(), name, factor);
    EXPECT_TRUE(scaled) << name;
    return scaled ? *scaled : std::vector<LayerKind>{};
  };
  struct Crossing {
    std::vector<LayerKind> from, to;
    std::int64_t from_length, to_length;
  };
  const Crossing crossings[] = {{kinds("dynamic", 2), kinds("dynamic", 2), 64, 100000},
                                {kinds("none", 1), kinds("yarn", 4), 64, 64},
                                {kinds("yarn", 8), kinds("linear", 2), 64, 64}};
  for (const Crossing& crossing : crossings) {
    auto fresh = Decoder::make(model, {.capacity = 340, .kinds = crossing.to, .running_length = crossing.to_length});
    auto carried =
        Decoder::make(model, {.capacity = 340, .kinds = crossing.from, .running_length = crossing.from_length});
    auto left = Decoder::make(model, {.capacity = 340, .kinds = crossing.from, .running_length = crossing.from_length});
    ASSERT_TRUE(fresh && carried && left);
    for (Decoder* const d : {&*fresh, &*carried, &*left}) ASSERT_FALSE(d->feed(cached));
    ASSERT_FALSE(carried->rescale(crossing.to, crossing.to_length));
    ASSERT_FALSE(left->rescale(crossing.to, crossing.to_length, CachedKeys::kLeft));
    const std::vector<float> want = logits_behind(*fresh, next);
    EXPECT_LT(largest_difference(want, logits_behind(*carried, next)), 1e-4f);
    EXPECT_GT(largest_difference(want, logits_behind(*left, next)), 1e-3f);
  }
}

TEST_F(RunnerModel, WhatACacheCannotDoIsRefusedAndChangesNothing) {
  const Model model = loaded(folder_);
  auto decoder = Decoder::make(model, {.capacity = 20});
  ASSERT_TRUE(decoder);
  ASSERT_FALSE(decoder->feed(tiny::ids(10)));
  EXPECT_TRUE(decoder->forget_first(11));
  EXPECT_TRUE(decoder->forget_first(-1));
  EXPECT_TRUE(decoder->move(std::int64_t{1} << 36));
  EXPECT_TRUE(decoder->move(std::numeric_limits<std::int64_t>::min()));
  std::vector<LayerKind> still = model.positions().kinds;
  for (LayerKind& kind : still) kind.spec.reset();
  const auto error = decoder->rescale(still, 64);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, Code::kUnsupported);
  EXPECT_EQ(decoder->length(), 10);
  EXPECT_EQ(decoder->origin(), 0);
  EXPECT_FALSE(Decoder::make(model, {.capacity = 20, .origin = std::int64_t{1} << 36}));
}

TEST_F(RunnerModel, Bf16IsNearFloat32) {
  const auto ids = tiny::ids(100);
  std::vector<std::vector<float>> logits;
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    auto model = Model::load(folder_.string(), {.dtype = dtype, .threads = 2});
    if (!model && model.error().code == Code::kUnavailable) GTEST_SKIP() << model.error().line();
    ASSERT_TRUE(model);
    auto decoder = Decoder::make(*model, {.capacity = 100});
    ASSERT_TRUE(decoder);
    ASSERT_FALSE(decoder->feed(ids));
    logits.push_back(*decoder->logits(0, 100));
  }
  const float largest = std::fabs(*std::max_element(logits[0].begin(), logits[0].end()));
  EXPECT_LT(largest_difference(logits[0], logits[1]), 0.1f * largest);
  EXPECT_GT(largest_difference(logits[0], logits[1]), 0.0f);
}

TEST_F(RunnerModel, MeasuredLossIsThatOfTheLogits) {
  const Model model = loaded(folder_);
  const auto text = tiny::ids(900);
  const WindowTask task{.length = 600, .scaling = "none", .first_token = 250, .scored_first = 800, .scored_end = 850};
  std::vector<double> fractions;
  auto record = measure(model, text, task,
                        {.progress = [&](const Progress& p) { fractions.push_back(p.fraction); }, .chunk = 130});
  ASSERT_TRUE(record) << record.error().line();
  auto decoder = Decoder::make(model, {.capacity = 600});
  ASSERT_TRUE(decoder);
  ASSERT_FALSE(decoder->feed({text.data() + 250, 600}));
  const auto logits = *decoder->logits(549, 50);
  double sum = 0.0;
  for (std::size_t i = 0; i < 50; ++i) {
    double total = 0.0;
    for (std::size_t v = 0; v < 256; ++v) total += std::exp(double{logits[i * 256 + v]});
    const double nll = std::log(total) - double{logits[i * 256 + static_cast<std::size_t>(text[800 + i])]};
    EXPECT_NEAR(record->nll[i], nll, 1e-3);
    sum += nll;
  }
  EXPECT_NEAR(record->nll_sum, sum, 1e-2);
  EXPECT_EQ(record->tokens_seen, 600);
  EXPECT_TRUE(std::is_sorted(fractions.begin(), fractions.end()));
  EXPECT_NEAR(fractions.back(), 1.0, 1e-12);
}

TEST_F(RunnerModel, AScalingOfFactorOneIsNone) {
  const Model model = loaded(folder_);
  const auto text = tiny::ids(300);
  const auto nll = [&](const std::string& scaling, double factor) {
    auto record = measure(model, text,
                          {.length = 200,
                           .scaling = scaling,
                           .factor = factor,
                           .first_token = 0,
                           .scored_first = 150,
                           .scored_end = 200});
    EXPECT_TRUE(record) << (record ? "" : record.error().line());
    return record->nll_sum;
  };
  const double none = nll("none", 1);
  for (const char* scaling : {"own", "linear", "ntk", "dynamic", "yarn"})
    EXPECT_DOUBLE_EQ(nll(scaling, 1), none) << scaling;
  for (const char* scaling : {"linear", "ntk", "yarn"}) EXPECT_NE(nll(scaling, 4), none) << scaling;
  EXPECT_DOUBLE_EQ(nll("dynamic", 4), none) << "below the trained length nothing grows";
}

TEST_F(RunnerModel, CancellingEndsARun) {
  const Model model = loaded(folder_);
  const auto text = tiny::ids(300);
  const std::atomic<bool> cancel = true;
  auto record = measure(model, text, {.length = 300, .scaling = "none", .scored_first = 200, .scored_end = 300},
                        {.cancel = &cancel});
  ASSERT_FALSE(record);
  EXPECT_EQ(record.error().line(), "eval: interrupted");
}

TEST_F(RunnerModel, MoreThanTheMemoryIsRefusedBeforeItIsTaken) {
  const Model model = loaded(folder_);
  auto decoder = Decoder::make(model, {.capacity = std::int64_t{1} << 38});
  ASSERT_FALSE(decoder);
  EXPECT_EQ(decoder.error().path, "capacity");
  EXPECT_GT(memory_available(), 0);
  EXPECT_GT(memory_needed(model, std::int64_t{1} << 38), memory_available());
  const auto one = memory_needed(model, 1 << 20), two = memory_needed(model, 1 << 21);
  EXPECT_LT(two, 2 * one) << "linear in the length";
}

TEST_F(RunnerModel, ATaskOutsideTheTextIsRefused) {
  const Model model = loaded(folder_);
  auto text = tiny::ids(300);
  const WindowTask good{.length = 100, .scaling = "none", .first_token = 100, .scored_first = 150, .scored_end = 200};
  ASSERT_TRUE(measure(model, text, good));
  for (auto change : std::vector<void (*)(WindowTask&)>{
           [](WindowTask& t) { t.length = 400; }, [](WindowTask& t) { t.first_token = -1; },
           [](WindowTask& t) { t.scored_first = t.first_token; }, [](WindowTask& t) { t.scored_end = 201; },
           [](WindowTask& t) { t.length = INT64_MAX; }, [](WindowTask& t) { t.scaling = "alibi"; },
           [](WindowTask& t) { t.scaling = "yarn", t.factor = 0.5; }}) {
    WindowTask bad = good;
    change(bad);
    EXPECT_FALSE(measure(model, text, bad));
  }
  text[150] = 256;
  EXPECT_FALSE(measure(model, text, good));
}

TEST_F(RunnerModel, AConfigThatDoesNotFitTheTensorsIsRefusedByName) {
  const auto with = [&](const char* key, const json& value) {
    json config = tiny::config({});
    config[key] = value;
    tiny::write(folder_ / "config.json", config.dump());
    return why_not(folder_);
  };
  EXPECT_EQ(with("model_type", "mistral").substr(0, 18), "config:model_type:");
  EXPECT_NE(with("hidden_size", 64).find("by the config"), std::string::npos);
  EXPECT_NE(with("intermediate_size", 81).find("mlp."), std::string::npos);
  EXPECT_NE(with("num_hidden_layers", 3).find("model.layers.2."), std::string::npos);
  EXPECT_NE(with("num_hidden_layers", 1).find("model.layers.1."), std::string::npos);
  EXPECT_NE(with("num_key_value_heads", 4).find("divisor"), std::string::npos);
  EXPECT_NE(with("num_key_value_heads", 3).find("k_proj"), std::string::npos);
  EXPECT_NE(with("num_attention_heads", 12).find("q_proj"), std::string::npos);
  EXPECT_NE(with("vocab_size", 255).find("embed_tokens"), std::string::npos);
  EXPECT_NE(with("tie_word_embeddings", false).find("lm_head"), std::string::npos);
  EXPECT_NE(with("hidden_size", -5).find("want a number from 1"), std::string::npos);
  EXPECT_NE(with("hidden_size", 1ull << 63).find("want a number from 1"), std::string::npos);
  EXPECT_NE(with("hidden_size", "many").find("whole number"), std::string::npos);
  EXPECT_NE(with("num_attention_heads", 0).find("heads"), std::string::npos);
  EXPECT_NE(with("attention_bias", true).find("attention_bias"), std::string::npos);
  EXPECT_NE(with("hidden_act", "gelu").find("gelu"), std::string::npos);
  EXPECT_NE(with("rms_norm_eps", -1).find("rms_norm_eps"), std::string::npos);
  EXPECT_EQ(with("rms_norm_eps", 1e-6), "it loads");
}

TEST_F(RunnerModel, ATensorTooManyIsRefusedAndNotDropped) {
  auto tensors = tiny::tensors({});
  tensors["model.layers.0.self_attn.q_norm.weight"] = {8};
  tiny::write_safetensors(folder_ / "model.safetensors", tensors);
  EXPECT_NE(why_not(folder_).find("q_norm"), std::string::npos) << why_not(folder_);
}

TEST_F(RunnerModel, ATruncatedFileIsRefused) {
  const auto path = folder_ / "model.safetensors";
  const auto size = tiny::fs::file_size(path);
  for (const auto kept : {size - 1, size / 2, std::uintmax_t{9}, std::uintmax_t{3}, std::uintmax_t{0}}) {
    tiny::fs::resize_file(path, kept);
    EXPECT_NE(why_not(folder_), "it loads") << kept;
  }
}

TEST_F(RunnerModel, WhatIsMissingIsNamed) {
  tiny::fs::remove(folder_ / "tokenizer.json");
  EXPECT_NE(why_not(folder_).find("tokenizer.json"), std::string::npos);
  tiny::fs::remove(folder_ / "model.safetensors");
  EXPECT_NE(why_not(folder_).find("model.safetensors"), std::string::npos);
  tiny::write(folder_ / "model.safetensors.index.json", R"({"weight_map": {"a": "../elsewhere"}})");
  EXPECT_NE(why_not(folder_).find("elsewhere"), std::string::npos);
  tiny::write(folder_ / "config.json", "{");
  EXPECT_NE(why_not(folder_).find("JSON"), std::string::npos);
  auto none = Model::load("/nowhere/model.gguf");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, Code::kUnavailable);
}

TEST_F(RunnerModel, ShardsAreFoundByTheirIndex) {
  const auto all = tiny::tensors({});
  const Model one = loaded(folder_);
  const auto ids = tiny::ids(20);
  tiny::fs::remove(folder_ / "model.safetensors");
  json map;
  std::vector<tiny::Tensors> halves(2);
  for (const auto& [name, shape] : all) {
    const std::size_t i = name.find(".1.") != std::string::npos;
    halves[i][name] = shape;
    map[name] = "part-" + std::to_string(i) + ".safetensors";
  }
  for (std::size_t i = 0; i < 2; ++i)
    tiny::write_safetensors(folder_ / ("part-" + std::to_string(i) + ".safetensors"), halves[i]);
  tiny::write(folder_ / "model.safetensors.index.json", json{{"weight_map", map}}.dump());
  EXPECT_EQ(loaded(folder_).config().parameters, one.config().parameters);
}

TEST_F(RunnerModel, ADecoderHoldsItsBounds) {
  const Model model = loaded(folder_);
  EXPECT_FALSE(Decoder::make(model, {.capacity = 0}));
  EXPECT_FALSE(Decoder::make(model, {.capacity = -1}));
  auto decoder = Decoder::make(model, {.capacity = 10});
  ASSERT_TRUE(decoder);
  EXPECT_TRUE(decoder->feed(tiny::ids(11)));
  EXPECT_TRUE(decoder->feed(std::vector<std::int32_t>{256}));
  EXPECT_TRUE(decoder->feed(std::vector<std::int32_t>{-1}));
  EXPECT_EQ(decoder->length(), 0);
  EXPECT_FALSE(decoder->feed(tiny::ids(10)));
  EXPECT_TRUE(decoder->feed(tiny::ids(1)));
  EXPECT_FALSE(decoder->logits(0, 11));
  EXPECT_FALSE(decoder->logits(-1, 1));
  EXPECT_TRUE(decoder->rewind(11));
  auto kinds = model.positions().kinds;
  kinds[0].layers = {0};
  EXPECT_FALSE(Decoder::make(model, {.capacity = 10, .kinds = kinds})) << "layer 1 has no kind";
  kinds[0].layers = {0, 1, 1};
  EXPECT_FALSE(Decoder::make(model, {.capacity = 10, .kinds = kinds})) << "layer 1 has two";
}

// A kind without a spec leaves its layer's keys as they are: then only the order of causality tells positions apart.
TEST_F(RunnerModel, LayersOfDifferentKindsRotateEachInTheirWay) {
  const Model model = loaded(folder_);
  const auto ids = tiny::ids(40);
  const auto logits = [&](std::vector<LayerKind> kinds) {
    auto decoder = Decoder::make(model, {.capacity = 40, .kinds = std::move(kinds)});
    EXPECT_TRUE(decoder) << (decoder ? "" : decoder.error().line());
    EXPECT_FALSE(decoder->feed(ids));
    return *decoder->logits(0, 40);
  };
  const LayerKind rotating = model.positions().kinds[0];
  const auto kind = [&](const char* name, std::vector<int> layers, bool rotates) {
    LayerKind out = rotating;
    out.name = name;
    out.layers = std::move(layers);
    if (!rotates) out.spec.reset();
    return out;
  };
  const auto all = logits({kind("default", {0, 1}, true)});
  EXPECT_EQ(logits({kind("b", {1}, true), kind("a", {0}, true)}), all);
  const auto mixed = logits({kind("a", {0}, true), kind("b", {1}, false)});
  EXPECT_NE(mixed, all);
  EXPECT_NE(mixed, logits({kind("a", {1}, true), kind("b", {0}, false)}));
  EXPECT_NE(mixed, logits({kind("none", {0, 1}, false)}));
}

// ---- Gemma 3: sliding layers, norms of heads and behind the branches

const std::vector<std::string> kMixed = {"sliding_attention", "full_attention", "sliding_attention"};

std::vector<float> logits_of(const Model& model, const std::vector<std::int32_t>& ids) {
  auto decoder = Decoder::make(model, {.capacity = static_cast<std::int64_t>(ids.size())});
  EXPECT_TRUE(decoder) << (decoder ? "" : decoder.error().line());
  EXPECT_FALSE(decoder->feed(ids));
  return *decoder->logits(0, decoder->last_fed());
}

class RunnerGemma : public testing::Test {
 protected:
  tiny::Folder folder_;
};

TEST_F(RunnerGemma, PrefillEqualsStepByStepAcrossTheWindow) {
  tiny::write_gemma(folder_, kMixed, 20);
  const Model model = loaded(folder_);
  EXPECT_EQ(model.config().windows, (std::vector<std::int64_t>{20, 0, 20}));
  const auto ids = tiny::ids(150);
  const auto want = logits_of(model, ids);
  auto steps = Decoder::make(model, {.capacity = 150});
  ASSERT_TRUE(steps);
  for (std::size_t t = 0; t < ids.size(); ++t) {
    ASSERT_FALSE(steps->feed({ids.data() + t, 1}));
    auto got = steps->logits(0, 1);
    ASSERT_TRUE(got);
    const auto row = want.begin() + static_cast<std::ptrdiff_t>(t * 256);
    ASSERT_LT(largest_difference(*got, {row, row + 256}), 2e-4f) << "token " << t;
  }
}

// One sliding layer: a token reaches as far as the window, and no further; a second one doubles that.
TEST_F(RunnerGemma, ATokenReachesAsFarAsTheWindows) {
  constexpr std::size_t kWindow = 20;
  for (const std::size_t layers : {1u, 2u}) {
    tiny::write_gemma(folder_, std::vector<std::string>(layers, "sliding_attention"), kWindow);
    const Model model = loaded(folder_);
    auto ids = tiny::ids(100);
    const auto before = logits_of(model, ids);
    ids[0] = (ids[0] + 1) % 256;
    const auto after = logits_of(model, ids);
    const std::size_t reach = layers * (kWindow - 1);
    for (std::size_t t = 0; t < ids.size(); ++t) {
      const auto at = static_cast<std::ptrdiff_t>(t * 256);
      const bool same = std::equal(before.begin() + at, before.begin() + at + 256, after.begin() + at);
      EXPECT_EQ(same, t > reach) << "token " << t << " of " << layers << " layers";
    }
  }
}

// A norm takes the length of what it norms away: what is left of it is the epsilon.
TEST_F(RunnerGemma, NormedThingsMayHaveAnyLength) {
  tiny::write_gemma(folder_, kMixed, 20);
  const auto ids = tiny::ids(60);
  const auto want = logits_of(loaded(folder_), ids);
  const auto with = [&](const std::string& name, float scale) {
    tiny::write_safetensors(folder_ / "model.safetensors", tiny::gemma_tensors({.layers = 3}), name, scale);
    return largest_difference(logits_of(loaded(folder_), ids), want);
  };
  for (const char* name : {"q_proj.weight", "k_proj.weight", "o_proj.weight", "down_proj.weight"})
    EXPECT_LT(with(name, 16.0f), 2e-3f) << name;
  for (const char* name : {"q_norm.weight", "post_attention_layernorm.weight", "post_feedforward_layernorm.weight",
                           "gate_proj.weight", "embed_tokens.weight"})
    EXPECT_GT(with(name, 16.0f), 2e-2f) << name;
}

TEST_F(RunnerGemma, AScalingChangesOnlyTheLayersThatSeeAll) {
  const auto nll = [&](const std::string& scaling) {
    const Model model = loaded(folder_);
    auto record = measure(
        model, tiny::ids(200),
        {.length = 150, .scaling = scaling, .factor = 4.0, .first_token = 0, .scored_first = 100, .scored_end = 150});
    EXPECT_TRUE(record) << (record ? "" : record.error().line());
    return record->nll_sum;
  };
  tiny::write_gemma(folder_, {"sliding_attention", "sliding_attention"}, 20);
  EXPECT_EQ(nll("linear"), nll("none"));
  tiny::write_gemma(folder_, kMixed, 20);
  EXPECT_NE(nll("linear"), nll("none"));
}

TEST_F(RunnerGemma, WhatItIsNotIsRefusedByName) {
  tiny::write_gemma(folder_, kMixed, 20);
  const auto with = [&](const char* key, const json& value) {
    json config = tiny::gemma_config({.layers = 3}, kMixed, 20);
    config[key] = value;
    tiny::write(folder_ / "config.json", config.dump());
    return why_not(folder_);
  };
  EXPECT_EQ(with("sliding_window", 21), "it loads");
  EXPECT_NE(with("sliding_window", 0).find("sliding_window"), std::string::npos);
  EXPECT_NE(with("attn_logit_softcapping", 50.0).find("attn_logit_softcapping"), std::string::npos);
  EXPECT_NE(with("final_logit_softcapping", 30.0).find("final_logit_softcapping"), std::string::npos);
  EXPECT_EQ(with("final_logit_softcapping", nullptr), "it loads");
  EXPECT_NE(with("use_bidirectional_attention", true).find("use_bidirectional_attention"), std::string::npos);
  EXPECT_NE(with("hidden_activation", "gelu").find("gelu_pytorch_tanh"), std::string::npos);
  EXPECT_NE(with("query_pre_attn_scalar", -4).find("query_pre_attn_scalar"), std::string::npos);
  EXPECT_NE(with("query_pre_attn_scalar", "many").find("query_pre_attn_scalar"), std::string::npos);
  EXPECT_NE(with("head_dim", 4).find("_proj"), std::string::npos);
  auto tensors = tiny::gemma_tensors({.layers = 3});
  tensors.erase("model.layers.1.self_attn.k_norm.weight");
  tiny::write(folder_ / "config.json", tiny::gemma_config({.layers = 3}, kMixed, 20).dump());
  tiny::write_safetensors(folder_ / "model.safetensors", tensors);
  EXPECT_NE(why_not(folder_).find("k_norm"), std::string::npos);
}

// The token that a tokenizer wants in front takes the first one's place, and only the first one's.
TEST_F(RunnerModel, AWindowBeginsWithTheBeginToken) {
  const auto text = tiny::ids(300);
  const WindowTask task{.length = 100, .scaling = "none", .first_token = 50, .scored_first = 51, .scored_end = 150};
  auto plain = measure(loaded(folder_), text, task);
  json tokenizer = tiny::tokenizer();
  tokenizer["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single", {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}}, {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
      {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {7}}, {"tokens", {"<s>"}}}}}}};
  tiny::write(folder_ / "tokenizer.json", tokenizer.dump());
  const Model begins = loaded(folder_);
  ASSERT_EQ(begins.tokenizer().begin_token(), 7);
  auto with = measure(begins, text, task);
  auto replaced = text;
  replaced[50] = 7;
  tiny::write(folder_ / "tokenizer.json", tiny::tokenizer().dump());
  auto want = measure(loaded(folder_), replaced, task);
  ASSERT_TRUE(plain && with && want);
  EXPECT_EQ(with->nll, want->nll);
  EXPECT_NE(with->nll, plain->nll);
}

}  // namespace
