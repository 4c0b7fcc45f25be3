#pragma once

#include <ropewalk/result.hpp>

#include <nlohmann/json.hpp>

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace ropewalk::config {

using Json = nlohmann::json;

/// Thrown inside src/config only, and caught where the reading began: a config is read in many small steps of which any
/// may end the reading, and none can be resumed.
struct Refusal {
  Error error;
};

[[noreturn]] void refuse(Code code, std::string path, std::string message);

/// Parses the text of a config.json. A byte order mark is skipped; NaN and Infinity, which Python writes and JSON does
/// not know, become strings of that name. Errors (kFormat, path: `source`): not JSON, not an object, a key twice in one
/// object, deeper than 64 levels, longer than 64 MiB, a number beyond double, not UTF-8.
Result<Json> parse_config(std::string_view text, const std::string& source);

/// A value as it is shown in a message: JSON in ASCII, cut to 60 characters.
std::string shown(const Json& value);
/// The shortest decimal that is this number again.
std::string shown(double value);

/// One object of a config, read by key. What was looked up and found is written down in `used`, by its dotted path. A
/// key whose value is null counts as missing. Everything that cannot be read as wanted throws a Refusal that names it.
class Keys {
 public:
  Keys(const Json& object, std::string path, std::set<std::string>& used)
      : object_(&object), path_(std::move(path)), used_(&used) {}

  std::string where(std::string_view key) const;
  const std::string& path() const { return path_; }
  const Json& object() const { return *object_; }

  bool has(std::string_view key) const { return peek(key) != nullptr; }
  bool is_null(std::string_view key) const;
  bool was_used(std::string_view key) const { return used_->count(where(key)) != 0; }
  void use(std::string_view key) { used_->insert(where(key)); }

  /// Without writing it down; nullptr if it is missing or null.
  const Json* peek(std::string_view key) const;
  const Json* find(std::string_view key);

  std::optional<double> number(std::string_view key, double least, std::string_view want);
  /// Above `floor`, not equal to it.
  std::optional<double> number_above(std::string_view key, double floor, std::string_view want);
  std::optional<std::int64_t> integer(std::string_view key, std::int64_t least, std::int64_t most);
  std::optional<bool> flag(std::string_view key);
  std::optional<std::string> text(std::string_view key);
  std::optional<std::vector<double>> numbers(std::string_view key, double above, std::string_view want);
  std::optional<std::vector<std::int64_t>> integers(std::string_view key, std::int64_t least, std::int64_t most);
  std::optional<std::vector<std::string>> texts(std::string_view key);
  std::optional<Keys> keys(std::string_view key);

 private:
  const Json* object_;
  std::string path_;
  std::set<std::string>* used_;
};

}  // namespace ropewalk::config
