#include "kernels/support.hpp"

#include <cstdlib>

namespace {

using ropewalk::cpu::Target;

TEST(Dispatch, EndsWithATargetThatRunsAnywhere) {
  const Target& last = ropewalk::cpu::targets().back();
  EXPECT_EQ(last.name, "scalar");
  EXPECT_TRUE(last.runs_here());
}

TEST(Dispatch, FollowsTheEnvironmentOrSaysWhyNot) {
  const char* const wanted = std::getenv("ROPEWALK_TARGET");
  const auto here = support::targets_that_run_here();
  const auto made =
      ropewalk::Rotary::make({.head_dim = 8, .rotary_dim = 8, .theta = 10000.0, .layout = ropewalk::PairLayout::kHalf});
  for (const Target* target : here) {
    if (wanted == nullptr || target->name != wanted) continue;
    EXPECT_EQ(&ropewalk::cpu::active_target(), target);
    EXPECT_EQ(ropewalk::cpu::target_error(), "");
    EXPECT_TRUE(made);
    return;
  }
  EXPECT_EQ(&ropewalk::cpu::active_target(), here.front());
  if (wanted == nullptr) {
    EXPECT_EQ(ropewalk::cpu::target_error(), "");
    EXPECT_TRUE(made);
    return;
  }
  std::string names;
  for (const Target* target : here) names += (names.empty() ? "" : ", ") + std::string(target->name);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, ropewalk::Code::kUnavailable);
  EXPECT_EQ(made.error().line(),
            "ROPEWALK_TARGET: want one of " + names + " (those that run on this processor), got \"" + wanted + '"');
}

TEST(Dispatch, IsOverriddenAndRestored) {
  const Target* const own = &ropewalk::cpu::active_target();
  for (const Target* target : support::targets_that_run_here()) {
    ropewalk::cpu::override_target(target);
    EXPECT_EQ(&ropewalk::cpu::active_target(), target);
  }
  ropewalk::cpu::override_target(nullptr);
  EXPECT_EQ(&ropewalk::cpu::active_target(), own);
}

}  // namespace
