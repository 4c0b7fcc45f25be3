// Every allocation of every function fails once: a status comes back, nothing is kept, and the next call works.
#include <functional>
#include <string>

#include "starved_memory.hpp"
#include "support.hpp"

namespace {

using namespace abi_test;

/// Calls it with one allocation less failing each time until none does. Returns how many failed.
int starve(const std::function<rw_status(char*, std::size_t)>& call) {
  char error[256];
  for (int fails = 0; fails < 100000; ++fails) {
    error[0] = '?';
    const long before = blocks_alive;
    starved_after = fails;
    const rw_status status = call(error, sizeof error);
    const bool starved = starved_after == 0;
    starved_after = -1;
    if (status == RW_OK) {
      EXPECT_STREQ(error, "");
      if (!starved) return fails;
      continue;  // it got on without
    }
    EXPECT_EQ(blocks_alive, before) << "something is kept after " << fails << " allocations";
    // Some builders say themselves that their result does not fit.
    EXPECT_NE(std::string(error).find("memory"), std::string::npos) << rw_status_name(status) << ": " << error;
  }
  ADD_FAILURE() << "never succeeded";
  return -1;
}

TEST(NoMemory, EveryAllocationOfMakingMayFail) {
  std::vector<std::int32_t> rungs = {0, 1, 2, 3, 0, 1, 2, 3};
  rw_yarn yarn = RW_YARN_INIT;
  yarn.factor = 4.0;
  yarn.trained_context = 2048;
  rw_spec_fields fields = plain_fields();
  fields.rung_of_pair = rungs.data();
  fields.rung_of_pair_count = rungs.size();
  fields.yarn = &yarn;
  const Spec spec = spec_of(fields);
  EXPECT_GT(starve([&](char* error, std::size_t size) {
              rw_spec* made = nullptr;
              const rw_status status = rw_spec_create(&fields, &made, error, size);
              EXPECT_EQ(made != nullptr, status == RW_OK);
              rw_spec_destroy(made);
              return status;
            }),
            0);
  EXPECT_GT(starve([&](char* error, std::size_t size) {
              rw_rotary* made = nullptr;
              const rw_status status = rw_rotary_create(spec.get(), 0, &made, error, size);
              EXPECT_EQ(made != nullptr, status == RW_OK);
              rw_rotary_destroy(made);
              return status;
            }),
            0);
  EXPECT_GT(starve([&](char* error, std::size_t size) {
              rw_frequencies* made = nullptr;
              const rw_status status = rw_frequencies_create(spec.get(), 0, &made, error, size);
              rw_frequencies_destroy(made);
              return status;
            }),
            0);
  EXPECT_GT(starve([&](char* error, std::size_t size) {
              rw_rerotation* made = nullptr;
              const rw_status status = rw_rerotation_create(spec.get(), 0, spec.get(), 0, &made, error, size);
              rw_rerotation_destroy(made);
              return status;
            }),
            0);
  EXPECT_GT(starve([&](char* error, std::size_t size) {
              char fingerprint[RW_FINGERPRINT_SIZE];
              return rw_spec_fingerprint(spec.get(), 0, fingerprint, error, size);
            }),
            0);
  EXPECT_GT(starve([&](char* error, std::size_t size) {
              std::int64_t positions[4];
              return rw_positions_from_range(0, 4, positions, 4, error, size);
            }),
            0);
}

std::string llama_with_a_name_of(std::size_t size) {
  return R"({"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "rope_theta": 10000.0,)"
         R"( "max_position_embeddings": 2048, "name": ")" +
         std::string(size, 'x') + "\"}";
}

TEST(NoMemory, WhatACheckpointIsAskedMayFailToo) {
  const std::string json = llama_with_a_name_of(3);
  char text[256];
  rw_checkpoint* checkpoint = nullptr;
  ASSERT_EQ(rw_checkpoint_from_json(json.data(), json.size(), nullptr, nullptr, &checkpoint, text, sizeof text), RW_OK);
  const Checkpoint owned(checkpoint);
  EXPECT_GT(starve([&](char* error, std::size_t size) {
              rw_hazards* made = nullptr;
              const rw_status status = rw_checkpoint_hazards(checkpoint, 100000, &made, error, size);
              EXPECT_EQ(made != nullptr, status == RW_OK);
              rw_hazards_destroy(made);
              return status;
            }),
            0);
  EXPECT_GT(starve([&](char* error, std::size_t size) {
              char fingerprint[RW_FINGERPRINT_SIZE];
              return rw_checkpoint_fingerprint(checkpoint, 0, fingerprint, error, size);
            }),
            0);
}

// nlohmann-json allocates where it frees, so that a reader with nothing left at all ends the process (ropewalk.h says
// so).
TEST(NoMemory, ATextTooLargeForTheMemoryIsRefused) {
  const std::string json = llama_with_a_name_of(1 << 20);
  char error[256];
  rw_checkpoint* checkpoint = nullptr;
  const long before = blocks_alive;
  starved_above = 1 << 16;
  const rw_status status =
      rw_checkpoint_from_json(json.data(), json.size(), nullptr, nullptr, &checkpoint, error, sizeof error);
  starved_above = -1;
  EXPECT_EQ(status, RW_NO_MEMORY) << error;
  EXPECT_STREQ(error, "memory: want room for what the call makes, got none");
  EXPECT_EQ(checkpoint, nullptr);
  EXPECT_EQ(blocks_alive, before);
}

TEST(NoMemory, TurningAllocatesNothingOnceItWasChecked) {
  const Spec spec = spec_of(plain_fields());
  const RotaryHandle rotary = rotary_of(spec.get());
  auto x = numbers(2 * 16);
  const std::int64_t positions[2] = {1, 2};
  const rw_heads_view view = rw_heads_thd(x.data(), RW_FLOAT32, 2, 1, 16);
  const rw_operand operands[4] = {rw_in_place(&view), rw_in_place(&view), rw_in_place(&view), rw_in_place(&view)};
  const rw_positions_view at = rw_positions_row(positions, 2);
  rw_call call = RW_CALL_INIT;
  call.checked = 1;
  char error[64];
  starved_after = 0;
  const rw_status status = rw_rotary_apply(rotary.get(), operands, 4, &at, &call, error, sizeof error);
  starved_after = -1;
  EXPECT_EQ(status, RW_OK);
}

}  // namespace
