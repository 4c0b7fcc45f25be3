#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ropewalk::cli {

/// One encoding of the golden suite (tests/golden/README.md is the format): what one kind of layer does to a head.
struct GoldenEncoding {
  std::string name;
  int head_dim = 0;
  std::string layout;  ///< half, interleaved, blocks, none, ...: a word for people; `first` and `second` decide
  std::string scaling;
  double attention_factor = 1.0;
  double softmax_scale_multiplier = 1.0;
  bool clockwise = false;
  std::optional<std::int64_t> running_length;
  bool has_pairs = false;           ///< false: the file gives results only
  std::vector<int> first, second;   ///< [pairs] channels of the head
  std::vector<std::uint8_t> axis;   ///< [pairs]; empty: all follow axis 0, or every axis turns every pair
  std::vector<double> inv_freq;     ///< [rates, pairs] radians per unit of position
  int rates = 1;                    ///< 1, or as many as axes: then the phase of a pair is their sum
  std::vector<double> second_freq;  ///< [pairs], where the second channel has an angle of its own
  std::vector<std::uint8_t> second_axis;
  double ladder_theta = 0.0;  ///< the ladder before scaling; 0: none is said
  int ladder_dim = 0;
  nlohmann::json asked_positions;                         ///< [axes][tokens], as the file has them
  std::vector<std::vector<double>> turned_by;             ///< [axes][tokens]: asked_positions, or what they stand for
  std::vector<double> x;                                  ///< [head_dim]
  std::vector<std::vector<double>> query, key;            ///< [tokens][head_dim]
  std::vector<double> query_scale;                        ///< [tokens]; empty: 1
  std::vector<std::vector<double>> query_gain, key_gain;  ///< [tokens][pairs] on the pairs (xPos); empty: 1
  nlohmann::json weights;                                 ///< null, or learned numbers that no config holds

  std::size_t pairs() const noexcept { return first.size(); }
  std::size_t tokens() const noexcept { return query.size(); }
};

/// One question of the suite: an encoding as one config asks for it, of queries or of keys.
struct GoldenCase {
  std::string id;
  std::string family, config_name, kind;
  int layer = 0;
  bool key = false;
  nlohmann::json config;
  std::shared_ptr<const GoldenEncoding> encoding;

  const std::vector<std::vector<double>>& expected() const noexcept { return key ? encoding->key : encoding->query; }
};

struct GoldenFamily {
  std::string name, about;
  std::vector<GoldenCase> cases;
};

/// The folder of the suite: `given`, or where it lies beside this program or in the current folder. Refuses if there is
/// none.
std::string golden_folder(const std::string& given);

/// Every family of the folder by name, or those named. Refuses what is not in the format, and names that are not there.
std::vector<GoldenFamily> read_golden(const std::string& folder, const std::vector<std::string>& names);

/// How deep a document of the suite or of an answer may be nested: theirs reach 8.
constexpr int kDeepestJson = 64;

/// The deepest nesting of brackets outside the strings of a JSON text.
int deepest_nesting(std::string_view text) noexcept;

/// What each head of a case holds is the encoding's x times this: the second tells a head from a token.
constexpr double kHeadScales[] = {1.0, -2.0};

/// The question as one line of the protocol (docs/conform.md), without its newline.
std::string request_line(const GoldenCase& asked);

}  // namespace ropewalk::cli
