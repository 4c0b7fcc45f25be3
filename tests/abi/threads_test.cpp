// Handles are shared by any number of threads, and give all of them the same bits.
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "support.hpp"

namespace {

using namespace abi_test;

constexpr std::int64_t kTokens = 64, kHeads = 2, kHeadDim = 32;

struct Shared {
  const rw_spec* spec;
  const rw_rotary* rotary;
  const rw_checkpoint* checkpoint;
  std::vector<float> turned;
  std::string fingerprint, text;
};

/// What one thread does, over and over: reads, makes, turns, fails and reads its own error.
bool work(const Shared& shared, int thread) {
  bool right = true;
  for (int round = 0; round < 20; ++round) {
    ErrorText error;
    std::int64_t positions[kTokens];
    right &= rw_positions_from_range(1000000, kTokens, positions, kTokens, error.data(), error.size()) == RW_OK;
    auto x = numbers(kTokens * kHeads * kHeadDim);
    const rw_heads_view view = rw_heads_bshd(x.data(), RW_FLOAT32, 1, kTokens, kHeads, kHeadDim);
    const rw_operand operand = rw_in_place(&view);
    const rw_positions_view at = rw_positions_row(positions, kTokens);
    right &= rw_rotary_apply(shared.rotary, &operand, 1, &at, nullptr, error.data(), error.size()) == RW_OK;
    right &= same_bits(x, shared.turned);

    char fingerprint[RW_FINGERPRINT_SIZE];
    right &= rw_spec_fingerprint(shared.spec, 0, fingerprint, error.data(), error.size()) == RW_OK;
    right &= fingerprint == shared.fingerprint && rw_spec_text(shared.spec) == shared.text;

    rw_layer_kind kind = RW_LAYER_KIND_INIT;
    right &= rw_checkpoint_kind(shared.checkpoint, 0, &kind, error.data(), error.size()) == RW_OK;
    rw_rotary* own = nullptr;
    right &= rw_rotary_create(kind.spec, 0, &own, error.data(), error.size()) == RW_OK;
    rw_rotary_destroy(own);

    right &= rw_spec_channels(shared.spec, 1000 + thread, nullptr, error.data(), error.size()) == RW_INVALID;
    std::int32_t channels[4];
    right &= rw_spec_channels(shared.spec, 1000 + thread, channels, error.data(), error.size()) == RW_INVALID;
    right &= error.str() == "pair: want a number from 0 to 15, got " + std::to_string(1000 + thread);
  }
  return right;
}

TEST(Threads, SixtyFourOfThemShareEveryHandle) {
  const Spec spec = spec_of(plain_fields(kHeadDim));
  const RotaryHandle rotary = rotary_of(spec.get());
  const std::string json = R"({"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4,)"
                           R"( "rope_theta": 10000.0, "max_position_embeddings": 2048})";
  ErrorText error;
  rw_checkpoint* checkpoint = nullptr;
  ASSERT_EQ(
      rw_checkpoint_from_json(json.data(), json.size(), nullptr, nullptr, &checkpoint, error.data(), error.size()),
      RW_OK)
      << error.str();
  const Checkpoint owned(checkpoint);
  Shared shared{
      spec.get(), rotary.get(), checkpoint, numbers(kTokens * kHeads * kHeadDim), "", rw_spec_text(spec.get())};
  char fingerprint[RW_FINGERPRINT_SIZE];
  ASSERT_EQ(rw_spec_fingerprint(spec.get(), 0, fingerprint, error.data(), error.size()), RW_OK);
  shared.fingerprint = fingerprint;
  std::int64_t positions[kTokens];
  ASSERT_EQ(rw_positions_from_range(1000000, kTokens, positions, kTokens, error.data(), error.size()), RW_OK);
  const rw_heads_view view = rw_heads_bshd(shared.turned.data(), RW_FLOAT32, 1, kTokens, kHeads, kHeadDim);
  const rw_operand operand = rw_in_place(&view);
  const rw_positions_view at = rw_positions_row(positions, kTokens);
  ASSERT_EQ(rw_rotary_apply(rotary.get(), &operand, 1, &at, nullptr, error.data(), error.size()), RW_OK);

  std::atomic<int> right = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 64; ++i) threads.emplace_back([&, i] { right += work(shared, i); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 64);
}

}  // namespace
