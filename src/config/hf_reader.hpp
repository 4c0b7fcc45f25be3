#pragma once

#include "config/families.hpp"
#include "config/hf_scaling.hpp"
#include "config/keys.hpp"

#include <ropewalk/config.hpp>

#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ropewalk::config {

inline constexpr std::int64_t kMostTokens = std::int64_t{1} << 40;
inline constexpr std::int64_t kMostChannels = 1 << 20;
inline constexpr std::int64_t kMostLayers = 1 << 16;

/// "vision_config" as ReadOptions::part has it: "vision".
std::string part_name(std::string_view key);
/// Names with commas between, the first few of them.
std::string listed_parts(const std::vector<std::string>& names);

/// Reads one config.json, once. A reading is many small steps over the same state, any of which may end it by throwing
/// a Refusal; the steps lie in one file for each of the questions below.
class ConfigReader {
 public:
  ConfigReader(const Json& root, const std::string& source, const ReadOptions& options)
      : options_(options), root_(root, "", used_), config_(root_) {
    out_.source = source;
  }

  CheckpointPositions read();

 private:
  struct Head {
    int head_dim = 0;
    int width = 0;   // channels that may turn, before a partial factor
    int offset = 0;  // the first of them
  };
  struct Fraction {
    std::optional<double> value;
    std::string from;
  };

  // hf_config.cpp: which family, where its keys lie, and what was done with them
  void choose_family();
  bool read_only_part(const std::string& name);
  void read_flat(const Composite& composite, const std::string& name);
  void note_part();
  std::string other_parts() const;
  void check_needs();
  void enter(std::string_view key);
  [[noreturn]] void refuse_family(std::string path, const std::string& name);
  std::int64_t size(std::span<const std::string_view> names, std::int64_t most, std::int64_t assumed,
                    std::string_view own = {});
  void assume(const std::string& key, const std::string& value);
  std::int64_t need(std::int64_t value, std::string_view key);
  void note_once(const std::string& what, std::string value, std::string from);
  const std::vector<std::string>& types();
  std::vector<int> all_layers() const;
  void find_rope();
  void list_keys();
  bool is_holder(const std::string& path) const;

  // hf_parts.cpp: which part of a config of several
  void list_parts();
  std::optional<Part> enter_part();

  // hf_head.cpp: how wide a head is
  std::int64_t hidden_size();
  std::int64_t head_count();
  std::string quotient_words() const;
  int quotient(int times);
  std::optional<int> given_head_dim();
  void note_head(int head_dim, std::string from);
  Head head(std::string_view layer_type);
  Head latent_head();
  Head latent_head_by_type(std::string_view layer_type);
  Head full_head();
  std::string layer_type_at(const std::string& index);

  // hf_spec.cpp: how its channels turn
  double theta(std::optional<Keys>& rope, const NestedKind* nested, const std::string& kind);
  Fraction stated_fraction(std::optional<Keys>& rope, int width, double assumed);
  double proportional_fraction(std::optional<Keys>& rope, int width, double assumed, const std::string& kind);
  void check_indexer(std::string path, int width, const std::string& kind);
  int rotary_width(std::optional<Keys>& rope, int width, double assumed, const std::string& kind);
  bool rope_is_nested_entry(const std::optional<Keys>& rope) const;
  int even(int dim, int width, const std::string& path);
  std::vector<std::uint8_t> axes(std::optional<Keys>& rope, const RotarySpec& spec);
  void doubled_axes(std::optional<Keys>& rope, RotarySpec& spec);
  void lay_out(RotarySpec& spec, int width);
  void lay_out_atoms(RotarySpec& spec);
  void note_streams(int axes);
  RotarySpec spec(std::optional<Keys> rope, const NestedKind* nested, const std::string& layer_type);
  void note_text_axes();
  PairLayout layout();
  void check_lists(std::optional<Keys>& rope, const RotarySpec& spec);
  void note_trained(const Scaling& scaling);

  // hf_kinds.cpp: in which layers
  void add_kind(std::string name, std::vector<int> layers, int head_dim, std::optional<RotarySpec> spec);
  std::vector<std::string> streams(int axes) const;
  void add_unturned(std::string name, std::vector<int> layers);
  void read_kinds();
  void read_by_type();
  void read_no_rope_list();
  void read_unrotated_temperature(LayerKind* kind);
  void read_theta_list();
  const NestedKind* nested_kind(std::string_view type) const;
  void read_nested();
  void read_nested_from_flat();
  void read_deepseek_v4();
  std::vector<int> layers_where(auto&& wanted) const {
    std::vector<int> found;
    for (int i = 0; i < out_.layer_count; ++i)
      if (wanted(i)) found.push_back(i);
    return found;
  }

  // hf_strays.cpp: what was left
  void check_stray_keys();
  void check_unturned();

  ReadOptions options_;
  std::set<std::string> used_, assumed_used_;
  Keys root_, config_;
  bool inner_ = false;         // config_ is a sub-config
  bool own_defaults_ = false;  // of a kind whose missing keys mean something else than in its family
  const Row* row_ = nullptr;
  CheckpointPositions out_;
  std::optional<std::vector<std::string>> types_;
  std::optional<Keys> rope_;
  bool nested_ = false, legacy_scaling_ = false;
  Json assumed_rope_;
  int offset_of_latent_ = 0;
};

}  // namespace ropewalk::config
