// Families of the golden suite that no config.json of transformers describes: the spec that is one of them, made by
// hand, against the suite's vectors. (The others are read from their configs: tests/cli/test_conform.py.)
#include <ropewalk/ropewalk.hpp>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>
#include <vector>

namespace {

using nlohmann::json;
using ropewalk::CoordinatesView;
using ropewalk::DType;
using ropewalk::HeadsView;
using ropewalk::PairLayout;
using ropewalk::PositionsView;
using ropewalk::Role;
using ropewalk::Rotary;
using ropewalk::RotaryOperand;
using ropewalk::RotarySpec;

std::vector<json> encodings_of(const std::string& family) {
  std::ifstream file(std::string(GOLDEN_FOLDER) + "/" + family + ".json");
  EXPECT_TRUE(file) << family;
  return json::parse(file).at("encodings").get<std::vector<json>>();
}

// Rows of positions, one behind the other, as PositionsView::streams and CoordinatesView::streams want them.
template <class T>
std::vector<T> streams_of(const json& rows) {
  std::vector<T> flat;
  for (const json& row : rows)
    for (const json& value : row) flat.push_back(value.get<T>());
  return flat;
}

std::vector<double> numbers_of(const json& nested) {
  std::vector<double> flat;
  if (!nested.is_array()) return {nested.get<double>()};
  for (const json& inner : nested)
    for (const double value : numbers_of(inner)) flat.push_back(value);
  return flat;
}

template <class View>
std::vector<float> turned(const Rotary& rotary, const json& encoding, const View& positions, Role role) {
  const auto head = encoding.at("x").get<std::vector<float>>();
  std::vector<float> x;
  for (std::int64_t t = 0; t < positions.tokens; ++t) x.insert(x.end(), head.begin(), head.end());
  const auto operand = RotaryOperand::in_place(
      HeadsView::thd(x.data(), DType::kFloat32, positions.tokens, 1, static_cast<std::int64_t>(head.size())), role);
  const auto wrong = rotary.check({&operand, 1}, positions);
  EXPECT_FALSE(wrong) << wrong->line();
  if (!wrong) rotary.apply({&operand, 1}, positions);
  return x;
}

// Cosine and sine to 1.2e-7 each, two products and a sum in float32, times what the pair is magnified by.
void expect_near(const std::vector<float>& got, const json& wanted, double x_largest, const std::string& name) {
  std::size_t i = 0;
  for (const json& token : wanted)
    for (const json& value : token) {
      const double magnitude = std::max(1.0, std::fabs(value.get<double>()));
      ASSERT_NEAR(got[i], value.get<double>(), 0x1p-22 * 2 * x_largest * magnitude) << name << ", number " << i;
      ++i;
    }
  ASSERT_EQ(i, got.size());
}

void check(const json& encoding, const RotarySpec& spec, std::int64_t running_length = 0) {
  const auto name = encoding.at("name").get<std::string>();
  auto made = Rotary::make(spec, running_length);
  ASSERT_TRUE(made) << name << ": " << made.error().line();
  EXPECT_NEAR(made->frequencies().attention_factor, encoding.at("attention_factor").get<double>(), 1e-14) << name;
  if (encoding.contains("first")) {
    ASSERT_EQ(static_cast<std::size_t>(spec.pairs()), encoding.at("first").size()) << name;
    for (int j = 0; j < spec.pairs(); ++j) {
      EXPECT_EQ(spec.channels(j).first, encoding.at("first")[static_cast<std::size_t>(j)].get<int>()) << name << j;
      EXPECT_EQ(spec.channels(j).second, encoding.at("second")[static_cast<std::size_t>(j)].get<int>()) << name << j;
    }
    const std::vector<double> wanted = numbers_of(encoding.at("inv_freq"));
    ASSERT_EQ(made->frequencies().inv_freq.size(), wanted.size()) << name;
    for (std::size_t j = 0; j < wanted.size(); ++j)
      EXPECT_NEAR(made->frequencies().inv_freq[j], wanted[j], 4e-16 * std::fabs(wanted[j])) << name << ", pair " << j;
  }
  const json& where = encoding.contains("turned_by") ? encoding.at("turned_by") : encoding.at("positions");
  double largest = 0;
  for (const json& value : encoding.at("x")) largest = std::max(largest, std::fabs(value.get<double>()));
  const bool whole = std::all_of(where.begin(), where.end(), [](const json& row) {
    return std::all_of(row.begin(), row.end(), [](const json& value) { return value.is_number_integer(); });
  });
  const auto compare = [&](const auto& positions) {
    expect_near(turned(*made, encoding, positions, Role::kQuery), encoding.at("query"), largest, name);
    if (encoding.contains("key"))
      expect_near(turned(*made, encoding, positions, Role::kKey), encoding.at("key"), largest, name + ", key");
  };
  const int axes = static_cast<int>(where.size());
  if (whole) {
    const auto positions = streams_of<std::int64_t>(where);
    compare(PositionsView::streams(positions, axes));
  } else {
    const auto positions = streams_of<double>(where);
    compare(CoordinatesView::streams(positions, axes));
  }
}

RotarySpec spec_of(int head_dim, double theta, PairLayout layout) {
  return {.head_dim = head_dim, .rotary_dim = head_dim, .theta = theta, .layout = layout};
}

TEST(GoldenSpec, XPos) {
  for (const json& encoding : encodings_of("xpos")) {
    RotarySpec spec = spec_of(64, 10000.0, PairLayout::kInterleaved);
    spec.xpos = ropewalk::XPos{};
    check(encoding, spec, encoding.at("running_length").get<std::int64_t>());
  }
}

TEST(GoldenSpec, Fope) {
  for (const json& encoding : encodings_of("fope")) {
    RotarySpec spec = spec_of(32, 10000.0, PairLayout::kHalf);
    spec.fourier = ropewalk::FourierMix{1, 10, 10, numbers_of(encoding.at("weights").at("cos_coef")),
                                        numbers_of(encoding.at("weights").at("sin_coef"))};
    check(encoding, spec);
  }
}

TEST(GoldenSpec, LearnedFrequencies) {
  for (const json& encoding : encodings_of("learned_frequencies")) {
    RotarySpec spec = spec_of(64, 0.0, PairLayout::kInterleaved);
    spec.given = ropewalk::GivenFrequencies{1, static_cast<int>(encoding.at("inv_freq").size()),
                                            numbers_of(encoding.at("inv_freq"))};
    check(encoding, spec);
  }
}

TEST(GoldenSpec, NtkFixedAndMixed) {
  for (const json& encoding : encodings_of("ntk_fixed")) {
    RotarySpec spec = spec_of(128, 10000.0, PairLayout::kHalf);
    const bool mixed = encoding.at("name").get<std::string>().find("mixed") != std::string::npos;
    spec.scaling = ropewalk::NtkOptions{8.0, mixed ? ropewalk::NtkForm::kMixed : ropewalk::NtkForm::kFixed, 0.625};
    check(encoding, spec);
  }
}

TEST(GoldenSpec, PhysicalCoordinates) {
  for (const json& encoding : encodings_of("physical_coordinates")) {
    RotarySpec spec = spec_of(32, 0.0, PairLayout::kHalf);
    spec.given = ropewalk::GivenFrequencies{1, 1, numbers_of(encoding.at("inv_freq"))};
    for (const json& axis : encoding.at("axis")) spec.axis_of_pair.push_back(axis.get<std::uint8_t>());
    check(encoding, spec);
  }
}

TEST(GoldenSpec, TimeStamps) {
  for (const json& encoding : encodings_of("time_stamps")) {
    RotarySpec spec = spec_of(1280, 1200.0, PairLayout::kInterleaved);
    spec.rotary_dim = 512;
    spec.frequency_dim = 256;
    spec.clockwise = true;
    for (int j = 0; j < 256; ++j) {
      spec.rung_of_pair.push_back(j % 128);
      spec.axis_of_pair.push_back(static_cast<std::uint8_t>(j / 128));
    }
    check(encoding, spec);
  }
}

TEST(GoldenSpec, TeleChat3) {
  for (const json& encoding : encodings_of("yarn_telechat3")) {
    RotarySpec spec = spec_of(128, 1e6, PairLayout::kHalf);
    spec.scaling = ropewalk::YarnOptions{.factor = 32.0, .trained_context = 4096, .mscale_coefficient = 0.07};
    check(encoding, spec);
  }
}

TEST(GoldenSpec, DualChunk) {
  for (const json& encoding : encodings_of("dual_chunk")) check(encoding, spec_of(64, 1e7, PairLayout::kHalf));
}

}  // namespace
