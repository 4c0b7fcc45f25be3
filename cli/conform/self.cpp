#include "cli/conform/self.hpp"

#include "cli/units.hpp"

#include <ropewalk/config.hpp>
#include <ropewalk/grids.hpp>
#include <ropewalk/rotary.hpp>

#include <fmt/format.h>

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace ropewalk::cli {
namespace {

using Json = nlohmann::json;

// ---- GGUF metadata that the suite holds as JSON, as the file that it came from (little-endian, version 3)

enum GgufType : std::uint32_t { kUint32 = 4, kFloat32 = 6, kBool = 7, kString = 8, kArray = 9 };

template <class T>
void put(std::string& out, T value) {
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  out.append(bytes, sizeof value);
}

void put_text(std::string& out, const std::string& text) {
  put<std::uint64_t>(out, text.size());
  out += text;
}

void put_value(std::string& out, const Json& value, bool with_type) {
  const auto type = [&](GgufType which) {
    if (with_type) put<std::uint32_t>(out, which);
  };
  if (value.is_string()) {
    type(kString);
    put_text(out, value.get<std::string>());
  } else if (value.is_boolean()) {
    type(kBool);
    put<std::uint8_t>(out, value.get<bool>());
  } else if (value.is_number_integer()) {
    type(kUint32);
    put<std::uint32_t>(out, value.get<std::uint32_t>());
  } else if (value.is_number()) {
    type(kFloat32);
    put<float>(out, value.get<float>());
  } else {
    type(kArray);
    const bool whole = value.empty() || value[0].is_number_integer();
    put<std::uint32_t>(out, whole ? kUint32 : kFloat32);
    put<std::uint64_t>(out, value.size());
    for (const Json& item : value) put_value(out, item, false);
  }
}

std::string gguf_bytes(const Json& config) {
  const Json tensors = config.value("tensors", Json::object());
  std::string out = "GGUF";
  put<std::uint32_t>(out, 3);
  put<std::uint64_t>(out, tensors.size());
  put<std::uint64_t>(out, config["gguf"].size());
  for (const auto& [key, value] : config["gguf"].items()) {
    put_text(out, key);
    put_value(out, value, true);
  }
  std::string data;
  for (const auto& [name, list] : tensors.items()) {
    put_text(out, name);
    put<std::uint32_t>(out, 1);
    put<std::uint64_t>(out, list.size());
    put<std::uint32_t>(out, 0);  // F32
    put<std::uint64_t>(out, data.size());
    for (const Json& item : list) put<float>(data, item.get<float>());
    data.resize((data.size() + 31) / 32 * 32);
  }
  out.resize((out.size() + 31) / 32 * 32);
  return out + data;
}

// A file without a name: read_positions wants a path, and nothing is to be left behind.
class MemoryFile {
 public:
  explicit MemoryFile(const std::string& bytes) : fd_(::memfd_create("conform.gguf", MFD_CLOEXEC)) {
    std::size_t done = 0;
    while (fd_ >= 0 && done < bytes.size()) {
      const ssize_t wrote = ::write(fd_, bytes.data() + done, bytes.size() - done);
      if (wrote <= 0) break;
      done += static_cast<std::size_t>(wrote);
    }
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  std::string path() const { return fmt::format("/proc/self/fd/{}", fd_); }

 private:
  int fd_;
};

Result<CheckpointPositions> read(const GoldenCase& asked, const ReadOptions& options) {
  if (!asked.config.contains("gguf")) return read_config_json(asked.config.dump(), asked.config_name, options);
  const MemoryFile file(gguf_bytes(asked.config));
  return read_positions(file.path(), options);
}

// The suite counts patches from 0, height before width. Which axis a tower's first stream follows and what it counts
// from is its grid family's to say.
const GridFamily* grid_of(const GoldenCase& asked) {
  constexpr std::pair<std::string_view, std::string_view> kTowers[] = {
      {"gemma4_vision", "gemma4"},         {"inkling2_vision", "inkling2"},
      {"llama4_vision_model", "llama4"},   {"muse_glimmer_vision", "muse_glimmer"},
      {"sam2_video", "sam2_video"},        {"sam3_vit_model", "sam2_video"},
      {"efficientloftr", "efficientloftr"}};
  for (const auto& [part, family] : kTowers)
    if (asked.config.value("model_type", "") == part) return find_grid_family(family);
  return nullptr;
}

// The streams of positions that a caller of the library would make of what was asked.
Json streams_of(const GoldenCase& asked) {
  Json streams = asked.encoding->asked_positions;
  if (const GridFamily* const grid = grid_of(asked); grid != nullptr) {
    if (grid->options.axes == GridAxes::kColumnRow) std::swap(streams[0], streams[1]);
    for (Json& stream : streams)
      for (Json& position : stream) position = position.get<std::int64_t>() + grid->options.offset;
  }
  // Music Flamingo's axes are made of seconds, the window and the token in it: here as the windows' builder makes them.
  if (asked.config.value("model_type", "") == "musicflamingo" && streams.size() == 3) {
    constexpr std::int64_t kTokens = 750;  // of 30 s
    const AudioWindows sound{.windows = 2,
                             .tokens_per_window = kTokens,
                             .seconds_per_token = 4 * asked.config.value("audio_frame_step", 0.01),
                             .max_positions = asked.config.value("max_position_embeddings", std::int64_t{1200})};
    if (const auto made = coordinates_from_audio_windows(sound)) {
      Json axes = Json::array({Json::array(), Json::array()});
      for (std::size_t token = 0; token < streams[0].size(); ++token)
        for (std::size_t axis = 0; axis < 2; ++axis) {
          const auto at = streams[1][token].get<std::int64_t>() * kTokens + streams[2][token].get<std::int64_t>();
          axes[axis].push_back((*made)[axis * 2 * kTokens + static_cast<std::size_t>(at)]);
        }
      return axes;
    }
  }
  // "compress entry, ratio 4": positions number compressed entries.
  constexpr std::string_view kRatio = " entry, ratio ";
  if (const std::size_t at = asked.kind.find(kRatio); at != std::string::npos) {
    const auto ratio = static_cast<std::int64_t>(std::stoll(asked.kind.substr(at + kRatio.size())));
    for (Json& stream : streams)
      for (Json& position : stream)
        if (const auto first = positions_from_compressed(position.get<std::int64_t>(), 1, ratio))
          position = first->front();
  }
  return streams;
}

bool all_whole(const Json& positions) {
  for (const Json& axis : positions)
    for (const Json& position : axis)
      if (!position.is_number_integer()) return false;
  return true;
}

}  // namespace

const LayerKind* kind_of(const CheckpointPositions& positions, const GoldenCase& asked) {
  for (const LayerKind& kind : positions.kinds)
    if (std::find(kind.layers.begin(), kind.layers.end(), asked.layer) != kind.layers.end()) return &kind;
  for (const LayerKind& kind : positions.kinds)
    if (kind.name == asked.kind || positions.kinds.size() == 1) return &kind;
  return nullptr;
}

// The library's answer is unsupported where it refuses the config by name, and for numbers that stand in the weights.
// tests/cli/test_conform.py holds the families that are unsupported today.
SelfAnswer answer_by_self(const GoldenCase& asked, Numerics numerics) {
  const GoldenEncoding& e = *asked.encoding;
  ReadOptions options;
  options.numerics = numerics;
  const auto positions = read(asked, options);
  if (!positions) return {{}, {}, positions.error().line()};
  const LayerKind* const kind = kind_of(*positions, asked);
  if (kind == nullptr)
    return {{}, {}, fmt::format("no kind of layer is called {} or has layer {}", asked.kind, asked.layer)};
  const bool multipliers = kind->spec && e.weights.is_object() && e.weights.contains("alpha");
  if (!e.weights.is_null() && !multipliers)
    return {{}, {}, "its frequencies stand in the weights, which no config holds"};

  SelfAnswer out;
  std::vector<float> x;
  for (std::size_t token = 0; token < e.tokens(); ++token)
    for (const double scale : kHeadScales)
      for (const double value : e.x) x.push_back(static_cast<float>(scale * value));
  std::vector<float> y = x;
  const auto tokens = static_cast<std::int64_t>(e.tokens());
  std::vector<double> gain(e.tokens(), 1.0);
  std::vector<std::pair<int, int>> moved;  // channels as they are written, and where the suite expects them
  if (kind->spec) {
    RotarySpec spec = *kind->spec;
    if (multipliers) {  // Mistral Large 4 stores their logarithms
      spec.frequency_multipliers.clear();
      for (const Json& alpha : e.weights["alpha"]) spec.frequency_multipliers.push_back(std::exp(alpha.get<double>()));
    }
    if (spec.head_dim != e.head_dim)
      return {{}, {}, fmt::format("its heads have {} channels, and the suite's {}", spec.head_dim, e.head_dim)};
    const auto rotary = Rotary::make(spec, e.running_length.value_or(0));
    if (!rotary) return {{}, {}, rotary.error().line()};
    out.softmax_scale_multiplier = rotary->frequencies().softmax_scale_multiplier;
    const Role role = asked.key ? Role::kKey : Role::kQuery;
    RotaryOperand operand =
        RotaryOperand::in_place(HeadsView::thd(y.data(), DType::kFloat32, tokens,
                                               static_cast<std::int64_t>(std::size(kHeadScales)), e.head_dim),
                                role);
    const Json streams = streams_of(asked);
    const auto axes = static_cast<int>(streams.size());
    // What is turned back is the attention's output.
    const RotaryCall call{.direction = asked.kind.ends_with(" output") ? Direction::kInverse : Direction::kForward};
    if (all_whole(streams)) {
      std::vector<std::int64_t> where;
      for (const Json& axis : streams)
        for (const Json& position : axis) where.push_back(position.get<std::int64_t>());
      const auto view = PositionsView::streams(where, axes);
      if (const auto error = rotary->check({&operand, 1}, view)) return {{}, {}, error->line()};
      rotary->apply({&operand, 1}, view, call);
    } else {
      std::vector<double> where;
      for (const Json& axis : streams)
        for (const Json& position : axis) where.push_back(position.get<double>());
      const auto view = CoordinatesView::streams(where, axes);
      if (const auto error = rotary->check({&operand, 1}, view)) return {{}, {}, error->line()};
      rotary->apply({&operand, 1}, view, call);
    }
    for (int pair = 0; pair < spec.pairs(); ++pair) {
      const ChannelPair in = spec.channels(pair), to = spec.output_channels(pair);
      if (in.first != to.first) moved.emplace_back(to.first, in.first);
      if (in.second != to.second) moved.emplace_back(to.second, in.second);
    }
  }
  if (const auto& t = kind->query_temperature(); t && !asked.key)
    for (std::size_t token = 0; token < e.tokens(); ++token) {
      const auto position = e.asked_positions[0][token].get<std::int64_t>();
      const double steps = std::floor(static_cast<double>(position + t->offset) / static_cast<double>(t->context));
      gain[token] = 1 + t->beta * std::log1p(steps);
    }
  const auto channels = static_cast<std::size_t>(e.head_dim);
  for (std::size_t token = 0; token < e.tokens(); ++token) {
    std::vector<std::vector<double>> heads;
    for (std::size_t head = 0; head < std::size(kHeadScales); ++head) {
      const float* const at = y.data() + (token * std::size(kHeadScales) + head) * channels;
      std::vector<double> row(at, at + channels);
      for (const auto& [from, to] : moved) row[static_cast<std::size_t>(to)] = static_cast<double>(at[from]);
      for (double& value : row) value *= gain[token];
      heads.push_back(std::move(row));
    }
    out.y.push_back(std::move(heads));
  }
  return out;
}

}  // namespace ropewalk::cli
