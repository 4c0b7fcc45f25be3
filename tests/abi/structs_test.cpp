// Structs that grow: programs that were compiled with an older header, and with a newer one.
#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include "support.hpp"

namespace {

using namespace abi_test;

/// A struct as a later header may have it.
template <class T>
struct Later {
  T known;
  std::int64_t later[2] = {};
};

rw_status create(const void* fields, std::string* said = nullptr) {
  ErrorText error;
  rw_spec* spec = nullptr;
  const rw_status status =
      rw_spec_create(static_cast<const rw_spec_fields*>(fields), &spec, error.data(), error.size());
  EXPECT_EQ(spec == nullptr, status != RW_OK);
  rw_spec_destroy(spec);
  if (said != nullptr) *said = error.str();
  return status;
}

TEST(Structs, AShorterStructOfAnOlderProgramHasDefaultsForTheRest) {
  // An older header that ended before position_scale: its bytes behind that are somebody else's.
  std::vector<std::byte> memory(sizeof(rw_spec_fields), std::byte{0xA5});
  rw_spec_fields fields = plain_fields();
  fields.struct_size = offsetof(rw_spec_fields, position_scale);
  std::memcpy(memory.data(), &fields, fields.struct_size);
  ErrorText error;
  rw_spec* made = nullptr;
  ASSERT_EQ(rw_spec_create(reinterpret_cast<const rw_spec_fields*>(memory.data()), &made, error.data(), error.size()),
            RW_OK)
      << error.str();
  const Spec older(made), today = spec_of(plain_fields());
  EXPECT_STREQ(rw_spec_text(older.get()), rw_spec_text(today.get()));
  // position_scale and softmax_scale_multiplier are 1 and not 0.
  rw_spec_fields back = RW_SPEC_FIELDS_INIT;
  ASSERT_EQ(rw_spec_get(older.get(), &back, error.data(), error.size()), RW_OK);
  EXPECT_EQ(back.position_scale, 1.0);
  EXPECT_EQ(back.softmax_scale_multiplier, 1.0);
}

TEST(Structs, EveryWholeWordOfYarnMayBeTheLastAnOlderProgramKnows) {
  rw_yarn yarn = RW_YARN_INIT;
  yarn.factor = 4.0;
  yarn.trained_context = 2048;
  rw_spec_fields fields = plain_fields();
  fields.yarn = &yarn;
  const Spec today = spec_of(fields);
  for (std::size_t size = sizeof(std::size_t); size <= sizeof yarn; size += sizeof(std::size_t)) {
    alignas(8) std::byte memory[sizeof yarn];
    std::memset(memory, 0x5A, sizeof memory);
    yarn.struct_size = size;
    std::memcpy(memory, &yarn, size);
    fields.yarn = reinterpret_cast<const rw_yarn*>(memory);
    std::string said;
    if (size <= offsetof(rw_yarn, trained_context)) {  // which has no default
      EXPECT_EQ(create(&fields, &said), RW_INVALID);
      EXPECT_EQ(said, "scaling.trained_context: want a number of tokens >= 1, got 0");
      continue;
    }
    const Spec older = spec_of(fields);
    EXPECT_STREQ(rw_spec_text(older.get()), rw_spec_text(today.get())) << size;
  }
}

TEST(Structs, ALongerStructIsTakenIfWhatIsUnknownOfItIsZeroAndRefusedIfNot) {
  Later<rw_spec_fields> fields{plain_fields()};
  fields.known.struct_size = sizeof fields;
  EXPECT_EQ(create(&fields), RW_OK);
  std::string said;
  fields.later[1] = std::int64_t{1} << 56;  // its last byte
  EXPECT_EQ(create(&fields, &said), RW_UNSUPPORTED);
  EXPECT_EQ(said, "fields.struct_size: want zeros behind the " + std::to_string(sizeof(rw_spec_fields)) +
                      " bytes that this version knows, got 1 in byte " + std::to_string(sizeof fields - 1));
}

TEST(Structs, ANestedStructGrowsByItself) {
  Later<rw_yarn> yarn{RW_YARN_INIT};
  yarn.known.struct_size = sizeof yarn;
  yarn.known.factor = 4.0;
  yarn.known.trained_context = 2048;
  rw_spec_fields fields = plain_fields();
  fields.yarn = &yarn.known;
  EXPECT_EQ(create(&fields), RW_OK);
  yarn.later[0] = 1;
  std::string said;
  EXPECT_EQ(create(&fields, &said), RW_UNSUPPORTED);
  EXPECT_EQ(said.substr(0, 20), "scaling.struct_size:");
}

TEST(Structs, ASizeThatNoHeaderSetsIsRefusedBeforeAnyByteIsLookedAt) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{7}, sizeof(rw_spec_fields) - 1,
                                 sizeof(rw_spec_fields) + 4, std::size_t{1} << 20, SIZE_MAX, SIZE_MAX - 7}) {
    rw_spec_fields fields = plain_fields();
    fields.struct_size = size;
    std::string said;
    EXPECT_EQ(create(&fields, &said), RW_INVALID) << size;
    EXPECT_EQ(said, "fields.struct_size: want " + std::to_string(sizeof(rw_spec_fields)) +
                        " as its INIT sets it, got " + std::to_string(size));
  }
}

TEST(Structs, AnOlderProgramIsGivenWhatItHasRoomForAndNotAByteMore) {
  const Spec spec = spec_of(plain_fields());
  alignas(8) std::byte memory[sizeof(rw_spec_fields)];
  for (std::size_t size = sizeof(std::size_t); size <= sizeof memory; size += sizeof(std::size_t)) {
    std::memset(memory, 0x5A, sizeof memory);
    std::memcpy(memory, &size, sizeof size);
    ErrorText error;
    ASSERT_EQ(rw_spec_get(spec.get(), reinterpret_cast<rw_spec_fields*>(memory), error.data(), error.size()), RW_OK)
        << error.str();
    std::size_t kept = 0;
    std::memcpy(&kept, memory, sizeof kept);
    EXPECT_EQ(kept, size);
    for (std::size_t i = size; i < sizeof memory; ++i) ASSERT_EQ(memory[i], std::byte{0x5A}) << size << " " << i;
    std::int32_t head_dim = 0;
    std::memcpy(&head_dim, memory + offsetof(rw_spec_fields, head_dim), sizeof head_dim);
    EXPECT_EQ(head_dim == 16, size > offsetof(rw_spec_fields, head_dim));
  }
}

TEST(Structs, ANewerProgramIsGivenWhatThereIsAndZerosStay) {
  const Spec spec = spec_of(plain_fields());
  Later<rw_spec_fields> fields{RW_SPEC_FIELDS_INIT};
  fields.known.struct_size = sizeof fields;
  ErrorText error;
  ASSERT_EQ(rw_spec_get(spec.get(), &fields.known, error.data(), error.size()), RW_OK) << error.str();
  EXPECT_EQ(fields.known.struct_size, sizeof fields);
  EXPECT_EQ(fields.known.head_dim, 16);
  EXPECT_EQ(fields.later[0], 0);
}

TEST(Structs, ElementsOfAnArrayAreAsFarApartAsTheFirstSays) {
  const Spec spec = spec_of(plain_fields());
  const RotaryHandle rotary = rotary_of(spec.get());
  auto q = numbers(16), k = numbers(16, 2), q_alone = q, k_alone = k;
  const std::int64_t position = 12345;
  const rw_positions_view at = rw_positions_row(&position, 1);
  ErrorText error;
  const auto view = [](std::vector<float>& x) { return rw_heads_thd(x.data(), RW_FLOAT32, 1, 1, 16); };
  const rw_heads_view q_view = view(q), k_view = view(k), q_alone_view = view(q_alone), k_alone_view = view(k_alone);
  const rw_operand today[] = {rw_in_place(&q_alone_view), rw_in_place(&k_alone_view)};
  ASSERT_EQ(rw_rotary_apply(rotary.get(), today, 2, &at, nullptr, error.data(), error.size()), RW_OK) << error.str();

  // A newer program's operands, 16 bytes longer.
  Later<rw_operand> later[] = {{rw_in_place(&q_view)}, {rw_in_place(&k_view)}};
  later[0].known.struct_size = later[1].known.struct_size = sizeof later[0];
  ASSERT_EQ(rw_rotary_apply(rotary.get(), &later[0].known, 2, &at, nullptr, error.data(), error.size()), RW_OK)
      << error.str();
  EXPECT_TRUE(same_bits(q, q_alone));
  EXPECT_TRUE(same_bits(k, k_alone));

  // An older program's, which had no role.
  struct Older {
    std::size_t struct_size;
    const rw_heads_view *in, *out;
  };
  static_assert(sizeof(Older) == offsetof(rw_operand, role));
  auto q_older = numbers(16), k_older = numbers(16, 2);
  const rw_heads_view q_older_view = view(q_older), k_older_view = view(k_older);
  const Older older[] = {{sizeof(Older), &q_older_view, nullptr}, {sizeof(Older), &k_older_view, nullptr}};
  ASSERT_EQ(rw_rotary_apply(rotary.get(), reinterpret_cast<const rw_operand*>(older), 2, &at, nullptr, error.data(),
                            error.size()),
            RW_OK)
      << error.str();
  EXPECT_TRUE(same_bits(k_older, k_alone));

  later[1].known.struct_size = sizeof(rw_operand);
  EXPECT_EQ(rw_rotary_apply(rotary.get(), &later[0].known, 2, &at, nullptr, error.data(), error.size()), RW_INVALID);
  EXPECT_EQ(error.str(), "operands[1].struct_size: want " + std::to_string(sizeof later[0]) + " as the first, got " +
                             std::to_string(sizeof(rw_operand)));
}

}  // namespace
