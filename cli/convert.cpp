// ropewalk convert: the rows of query and key projections from one pair layout to the other. Nothing is computed: bytes
// move, and everything else is copied. The result stands in a folder of its own, which appears whole or not at all.

#include "cli/convert.hpp"

#include "cli/json_out.hpp"
#include "cli/output.hpp"
#include "cli/progress.hpp"
#include "cli/qk_tensors.hpp"
#include "cli/refusal.hpp"
#include "cli/units.hpp"
#include "cli/verbs.hpp"

#include <ropewalk/config.hpp>
#include <ropewalk/layout.hpp>
#include <ropewalk/safetensors.hpp>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace ropewalk::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// In "__metadata__" of every file that is written: what layout its queries and keys have. read_positions follows it.
constexpr std::string_view kLayoutKey = "ropewalk.pair_layout";

constexpr std::string_view kWhole = "model.safetensors", kIndex = "model.safetensors.index.json";

constexpr std::size_t kChunkBytes = std::size_t{4} << 20;
constexpr std::uint64_t kMostTextBytes = std::uint64_t{256} << 20;

void stop_if_interrupted() {
  if (interrupted) throw Refused{Error{Code::kUnavailable, "interrupted", "nothing was written"}, kFailed};
}

// A regular file, read at offsets. Unlike a mapping it does not count as this process's memory, and a file that shrinks
// meanwhile is an error and not a signal.
class InFile {
 public:
  explicit InFile(const std::string& path) : path_(path), fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    struct stat status {};
    if (fd_ < 0 || ::fstat(fd_, &status) != 0)
      refuse(path, std::string("want a file that can be read, got: ") + std::strerror(errno), Code::kUnavailable);
    if (!S_ISREG(status.st_mode)) refuse(path, "want a regular file, got something else");
    size_ = static_cast<std::uint64_t>(status.st_size);
  }
  InFile(const InFile&) = delete;
  InFile& operator=(const InFile&) = delete;
  ~InFile() {
    if (fd_ >= 0) ::close(fd_);
  }

  std::uint64_t size() const noexcept { return size_; }

  void read(std::uint64_t offset, std::span<std::byte> to) const {
    while (!to.empty()) {
      const ssize_t got = ::pread(fd_, to.data(), to.size(), static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) refuse(path_, std::string("want a file that can be read, got: ") + std::strerror(errno));
      if (got == 0) refuse(path_, fmt::format("want {} bytes from byte {}, got the file's end", to.size(), offset));
      to = to.subspan(static_cast<std::size_t>(got));
      offset += static_cast<std::uint64_t>(got);
    }
  }

 private:
  std::string path_;
  int fd_;
  std::uint64_t size_ = 0;
};

json read_json(const fs::path& path) {
  const InFile file(path.string());
  if (file.size() > kMostTextBytes)
    refuse(path.string(), fmt::format("want at most {} bytes, got {}", kMostTextBytes, file.size()));
  std::string text(file.size(), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  // What lies deeper is dropped, and the look at what should be there fails: showing it would recurse as deep.
  constexpr int kDeepest = 64;
  json parsed = json::parse(
      text, [](int depth, json::parse_event_t, json&) { return depth <= kDeepest; }, /*allow_exceptions=*/false);
  if (!parsed.is_object()) refuse(path.string(), "want a JSON object, got something else", Code::kFormat);
  return parsed;
}

std::vector<fs::directory_entry> entries_of(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::directory_entry> found;
  for (auto at = fs::directory_iterator(folder, error); !error && at != fs::directory_iterator(); at.increment(error))
    found.push_back(*at);
  if (error) refuse(folder.string(), "want a folder that can be read, got: " + error.message(), Code::kUnavailable);
  return found;
}

// The header of the new file: the old one's entries in the order of their data, and kLayoutKey.
std::string header_of(const SafetensorsFile& file, PairLayout layout) {
  const auto quoted = [](std::string_view text) { return json(text).dump(); };
  std::string text = "{\"__metadata__\":{";
  for (const auto& [key, value] : file.metadata())
    if (key != kLayoutKey) text += quoted(key) + ":" + quoted(value) + ",";
  text += quoted(kLayoutKey) + ":" + quoted(name_of(layout)) + "}";
  std::uint64_t at = 0;
  for (const SafetensorsTensor& tensor : file.tensors()) {
    text += fmt::format(R"(,{}:{{"dtype":{},"shape":[{}],"data_offsets":[{},{}]}})", quoted(tensor.name),
                        quoted(tensor.dtype), fmt::join(tensor.shape, ","), at, at + tensor.bytes);
    at += tensor.bytes;
  }
  text += '}';
  text.append((8 - text.size() % 8) % 8, ' ');  // data begins at a multiple of 8, as the format's own writer has it
  const std::uint64_t length = text.size();
  std::string out(sizeof length, '\0');
  std::memcpy(out.data(), &length, sizeof length);
  return out + text;
}

class Copy {
 public:
  Copy(PairLayout from, PairLayout to, std::uint64_t total) : from_(from), to_(to), total_(total) {}

  void bytes(const InFile& in, std::uint64_t offset, std::uint64_t count, Output& out) {
    while (count > 0) {
      const auto here = static_cast<std::size_t>(std::min<std::uint64_t>(count, kChunkBytes));
      read(in, offset, here);
      write(out, in_);
      offset += here;
      count -= here;
    }
  }

  void tensor(const InFile& in, const SafetensorsTensor& tensor, const QkTensor& plan, Output& out) {
    if (tensor.bytes == 0) return;
    const std::uint64_t row = tensor.bytes / static_cast<std::uint64_t>(plan.rows);
    std::uint64_t offset = tensor.offset;
    const std::uint64_t end = tensor.offset + tensor.bytes;
    while (offset < end)
      for (const RowRun& run : plan.runs) {
        if (run.head)
          heads(in, offset, *run.head, run.rows / run.head->head_dim, row, out);
        else
          bytes(in, offset, static_cast<std::uint64_t>(run.rows) * row, out);
        offset += static_cast<std::uint64_t>(run.rows) * row;
      }
  }

 private:
  void heads(const InFile& in, std::uint64_t offset, const HeadChannels& head, std::int64_t count, std::uint64_t row,
             Output& out) {
    const std::uint64_t head_bytes = static_cast<std::uint64_t>(head.head_dim) * row;
    const auto at_once = static_cast<std::int64_t>(std::max<std::uint64_t>(1, kChunkBytes / head_bytes));
    for (std::int64_t done = 0; done < count; done += at_once) {
      const std::int64_t here = std::min(at_once, count - done);
      read(in, offset, static_cast<std::size_t>(static_cast<std::uint64_t>(here) * head_bytes));
      moved_.resize(in_.size());
      if (auto error = permute_rows(from_, to_, head, here, static_cast<std::int64_t>(row), in_, moved_))
        throw Refused{*std::move(error), kFailed};
      write(out, moved_);
      offset += in_.size();
    }
  }

  void read(const InFile& in, std::uint64_t offset, std::size_t count) {
    stop_if_interrupted();
    in_.resize(count);
    in.read(offset, in_);
  }

  void write(Output& out, const std::vector<std::byte>& data) {
    out.write(data.data(), data.size());
    done_ += data.size();
    progress_.show(
        fmt::format("{} of {}", shown_bytes(static_cast<double>(done_)), shown_bytes(static_cast<double>(total_))));
  }

  PairLayout from_, to_;
  std::uint64_t total_, done_ = 0;
  std::vector<std::byte> in_, moved_;
  ProgressLine progress_;
};

PairLayout layout_named(const std::string& name) {
  return name == "half" ? PairLayout::kHalf : PairLayout::kInterleaved;
}

PairLayout declared_layout(const CheckpointPositions& positions) {
  PairLayout layout = PairLayout::kUnset;
  for (const LayerKind& kind : positions.kinds) {
    if (!kind.spec) continue;
    if (layout != PairLayout::kUnset && layout != kind.spec->layout)
      refuse(positions.source, "want one pair layout for all layers, got both", Code::kUnsupported);
    layout = kind.spec->layout;
  }
  return layout;
}

// Beside the weights and config.json: what a reader of the folder needs, and what does not depend on the layout.
bool travels(const fs::path& file) {
  static const std::set<std::string> kEndings = {".json", ".txt", ".model", ".jinja"};
  return kEndings.contains(file.extension().string());
}

void copy_file(const fs::path& from, NewFolder& folder) {
  const InFile in(from.string());
  Output out = folder.file(from.filename().string());
  std::vector<std::byte> part;
  for (std::uint64_t at = 0; at < in.size(); at += part.size()) {
    stop_if_interrupted();
    part.resize(static_cast<std::size_t>(std::min<std::uint64_t>(in.size() - at, kChunkBytes)));
    in.read(at, part);
    out.write(part.data(), part.size());
  }
  out.finish();
}

// The files that hold a checkpoint's weights: model.safetensors, or the shards of its index, or the only file there is.
std::vector<std::string> weight_files(const std::string& path) {
  std::error_code ignored;
  const fs::path given(path);
  if (!fs::exists(given, ignored))
    refuse(path, "want a folder or a .safetensors file, got no such place", Code::kUnavailable);
  if (!fs::is_directory(given, ignored)) {
    if (given.extension() != ".safetensors")
      refuse(path,
             "want a folder with config.json, or a .safetensors file with config.json beside it, got another file");
    if (given.filename().string().starts_with("adapter_"))
      refuse(path, "want the weights of a whole model, got those of an adapter", Code::kUnsupported);
    return {given.filename().string()};
  }
  std::vector<std::string> found;
  for (const fs::directory_entry& entry : entries_of(given)) {
    const std::string name = entry.path().filename().string();
    if (name == "adapter_config.json" || name == "adapter_model.safetensors")
      refuse((given / name).string(), "want the weights of a whole model, got those of an adapter", Code::kUnsupported);
    if (entry.path().extension() == ".safetensors") found.push_back(name);
  }
  if (fs::exists(given / kWhole, ignored)) return {std::string(kWhole)};
  const fs::path index_path = given / kIndex;
  if (!fs::exists(index_path, ignored)) {
    if (found.size() == 1) return found;
    refuse(path, fmt::format("want model.safetensors, its index or one .safetensors file, got {}",
                             found.empty() ? "none" : "several and no index"));
  }
  const json index = read_json(index_path);
  const auto map = index.find("weight_map");
  if (map == index.end() || !map->is_object() || map->empty())
    refuse(index_path.string(), "want a weight_map with at least one entry, got none", Code::kFormat);
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : map->items()) {
    // A shard lies in the folder itself: a name with a separator would reach outside.
    const std::string name = shard.is_string() ? shard.get<std::string>() : "";
    if (name.empty() || name.find('/') != std::string::npos || !name.ends_with(".safetensors"))
      refuse(index_path.string(),
             "weight_map: want names of .safetensors files, got " + one_line(shard.dump()).substr(0, 80),
             Code::kFormat);
    shards.insert(name);
  }
  std::map<std::string, std::set<std::string, std::less<>>> held;
  for (const std::string& name : shards) {
    const SafetensorsFile shard = value_or_refuse(SafetensorsFile::open((given / name).string()));
    for (const SafetensorsTensor& tensor : shard.tensors()) {
      held[name].insert(tensor.name);
      if (const auto entry = map->find(tensor.name); entry == map->end() || *entry != name)
        refuse(index_path.string(),
               fmt::format("weight_map: want {} for tensor {}, which is there, got {}", name, one_line(tensor.name),
                           entry == map->end() ? "nothing" : one_line(entry->dump())),
               Code::kFormat);
    }
  }
  for (const auto& [tensor, shard] : map->items())
    if (!held[shard.get<std::string>()].contains(tensor))
      refuse(index_path.string(),
             fmt::format("weight_map: want tensors that are there, got {}, which {} does not hold", one_line(tensor),
                         one_line(shard.get<std::string>())),
             Code::kFormat);
  return {shards.begin(), shards.end()};
}

// What kLayoutKey says in these files, the same in all; nothing if none has it.
std::optional<PairLayout> stated_layout(std::span<const SafetensorsFile> files) {
  std::optional<PairLayout> layout;
  for (std::size_t i = 0; i < files.size(); ++i) {
    std::optional<PairLayout> own;
    for (const auto& [key, value] : files[i].metadata()) {
      if (key != kLayoutKey) continue;
      if (value != "half" && value != "interleaved")
        refuse(files[i].path(),
               fmt::format("{}: want half or interleaved, got {}", kLayoutKey, one_line(value).substr(0, 60)),
               Code::kFormat);
      own = layout_named(value);
    }
    if (i > 0 && own != layout)
      refuse(files[i].path(), fmt::format("{}: want the same in every file, got {} beside {}", kLayoutKey,
                                          own ? name_of(*own) : "none", layout ? name_of(*layout) : "none"));
    layout = own;
  }
  return layout;
}

struct Report {
  std::string path, family, out;
  PairLayout from = PairLayout::kUnset, to = PairLayout::kUnset;
  std::size_t tensors = 0;
  std::vector<std::string> reordered{}, files{}, left_out{};
};

void write_report(const Report& report, bool as_json) {
  Output out = Output::to_stdout();
  if (as_json) {
    JsonOut answer(out);
    answer.begin_object();
    answer.field("pair_layout", std::string(name_of(report.to)));
    answer.field("from", std::string(name_of(report.from)));
    answer.field("family", report.family);
    answer.field("out", report.out);
    answer.field("files", report.files);
    answer.field("left_out", report.left_out);
    answer.field("tensors", static_cast<std::int64_t>(report.tensors));
    answer.field("reordered", report.reordered);
    answer.end();
  } else {
    out.write(fmt::format("{} ({}): {} -> {}\n", one_line(report.path), one_line(report.family), name_of(report.from),
                          name_of(report.to)));
    std::map<std::string, int> kinds;  // the names behind the layer's number, and how many there are
    for (const std::string& name : report.reordered) {
      const std::size_t digit = name.find_first_of("0123456789");
      const std::size_t dot = name.find('.', digit == std::string::npos ? 0 : digit);
      ++kinds[dot == std::string::npos ? name : name.substr(dot + 1)];
    }
    out.write(fmt::format("  reordered {} of {} tensors\n", report.reordered.size(), report.tensors));
    for (const auto& [name, count] : kinds) out.write(fmt::format("    {:>4} x {}\n", count, one_line(name)));
    out.write(fmt::format("  written   {}: {}\n", one_line(in_folder(report.out, "")),
                          one_line(fmt::format("{}", fmt::join(report.files, ", ")))));
    if (!report.left_out.empty())
      out.write(fmt::format("  left out  {}\n", one_line(fmt::format("{}", fmt::join(report.left_out, ", ")))));
    out.write(fmt::format("The weights say so in their metadata ({}); config.json is as it was.\n", kLayoutKey));
  }
  out.finish();
}

int convert(const ConvertArgs& args) {
  const fs::path path(args.path);
  std::error_code ignored;
  const bool is_folder = fs::is_directory(path, ignored);
  const fs::path folder = is_folder ? path : fs::absolute(path).parent_path();
  const std::vector<std::string> names = weight_files(args.path);

  const CheckpointPositions positions =
      value_or_refuse(read_positions((folder / "config.json").string(), {.family = args.family}));
  const json config = read_json(folder / "config.json");

  std::vector<SafetensorsFile> files;
  std::vector<SafetensorsTensor> tensors;
  std::set<std::string, std::less<>> tensor_names;
  std::uint64_t total = 0;
  for (const std::string& name : names) {
    files.push_back(value_or_refuse(SafetensorsFile::open((folder / name).string())));
    for (const SafetensorsTensor& tensor : files.back().tensors()) {
      if (!tensor_names.insert(tensor.name).second)
        refuse("tensor " + one_line(tensor.name), "want every tensor in one file only, got it in two", Code::kFormat);
      tensors.push_back(tensor);
      total += tensor.bytes;
    }
  }

  Report report{.path = args.path, .family = positions.family, .out = args.out, .tensors = tensors.size()};
  const PairLayout declared = declared_layout(positions);
  const std::optional<PairLayout> stated = stated_layout(files);
  report.from = stated ? *stated : args.from.empty() ? declared : layout_named(args.from);
  report.to = layout_named(args.to);
  if (stated && !args.from.empty() && layout_named(args.from) != *stated)
    refuse("--from", fmt::format("want {}, as the weights say in their metadata, got {}", name_of(*stated), args.from));
  if (report.from == report.to)
    refuse("--to", fmt::format("want {}, since these weights are {} {}, got {}",
                               report.to == PairLayout::kHalf ? "interleaved" : "half", args.to,
                               stated              ? "by their metadata"
                               : args.from.empty() ? "by their config"
                                                   : "by --from",
                               args.to));
  const std::map<std::string, QkTensor> plan = find_qk_tensors(positions, config, tensors);
  for (const SafetensorsTensor& tensor : tensors) {
    const auto found = plan.find(tensor.name);
    if (found == plan.end()) continue;
    if (tensor.bytes % static_cast<std::uint64_t>(found->second.rows) != 0)
      refuse("tensor " + one_line(tensor.name), "want rows of whole bytes, got others");
    report.reordered.push_back(tensor.name);
  }

  // An index travels with the shards that it names. Where model.safetensors stands beside one, transformers takes that
  // file and asks no index (modeling_utils: _get_resolved_checkpoint_files); without its shards it would mislead
  // others.
  const bool by_index = names.front() != kWhole && fs::exists(folder / kIndex, ignored);
  const auto comes_along = [&](const fs::directory_entry& entry, const std::string& name) {
    if (name.ends_with(".index.json")) return by_index && name == kIndex;
    return entry.is_regular_file(ignored) && travels(entry.path());
  };
  std::vector<std::string> beside = {"config.json"};
  if (is_folder)
    for (const fs::directory_entry& entry : entries_of(folder)) {
      const std::string name = entry.path().filename().string();
      if (name == "config.json" || std::find(names.begin(), names.end(), name) != names.end()) continue;
      (comes_along(entry, name) ? beside : report.left_out).push_back(name);
    }
  std::sort(beside.begin() + 1, beside.end());
  std::sort(report.left_out.begin(), report.left_out.end());

  for (const std::string& name : beside) const InFile readable((folder / name).string());
  note_signals();
  NewFolder out(args.out, "--out");
  Copy copy(report.from, report.to, total);
  for (std::size_t i = 0; i < files.size(); ++i) {
    const InFile in((folder / names[i]).string());
    Output to = out.file(names[i]);
    to.write(header_of(files[i], report.to));
    for (const SafetensorsTensor& tensor : files[i].tensors()) {
      const auto found = plan.find(tensor.name);
      if (found != plan.end())
        copy.tensor(in, tensor, found->second, to);
      else
        copy.bytes(in, tensor.offset, tensor.bytes, to);
    }
    to.finish();
    report.files.push_back(names[i]);
  }
  for (const std::string& name : beside) {
    copy_file(folder / name, out);
    report.files.push_back(name);
  }
  stop_if_interrupted();
  out.finish();
  write_report(report, args.json);
  return kDone;
}

}  // namespace

void add_convert(CLI::App& app, Work& work) {
  CLI::App* verb = app.add_subcommand(
      "convert",
      "query and key weights from one pair layout to the other, or --detect: which one they were trained with");
  auto args = std::make_shared<ConvertArgs>();
  verb->add_option("path", args->path,
                   "a folder with config.json and safetensors, or a .safetensors file beside its config.json; for "
                   "--detect a GGUF file too")
      ->required()
      ->type_name("PATH");
  const auto layouts = CLI::IsMember({"half", "interleaved"});
  verb->add_option("--to", args->to, "the layout that is wanted")->check(layouts)->type_name("half|interleaved");
  verb->add_option("--out", args->out, "folder that gets the result; it must not be there, or be empty")
      ->type_name("DIR");
  verb->add_option("--from", args->from,
                   "the layout the weights have (default: what their metadata says, else their family)")
      ->check(layouts)
      ->type_name("half|interleaved");
  verb->add_option("--family", args->family, "follow this model family's conventions, whatever model_type says")
      ->type_name("NAME");
  verb->add_flag("--detect", args->detect, "run the model in both layouts and say which one it was trained with");
  verb->add_option("--text", args->text,
                   "--detect: text in UTF-8, of which the first 1024 tokens are used (default: built in)")
      ->type_name("FILE");
  verb->add_option("--threads", args->threads, "--detect: most threads to use, 0 for one a core (default 0)")
      ->type_name("N");
  verb->add_flag("--json", args->json, "the answer as JSON");
  verb->footer(
      "Rows of queries and keys move, with their biases, norms and row scales; nothing is computed and everything else "
      "is\n"
      "copied, so that converting there and back gives every byte back. The result says which layout it has in the\n"
      "metadata of its safetensors files (ropewalk.pair_layout); config.json is not changed.\n"
      "Examples:\n"
      "  ropewalk convert my-llama/ --to interleaved --out my-llama-interleaved\n"
      "  ropewalk convert model.gguf --detect\n"
      "  ropewalk convert my-llama/ --detect --text book.txt --json");
  verb->callback([args, &work] {
    if (args->path.empty()) throw CLI::ValidationError("PATH", "want a folder or a file, got no name");
    if (args->detect && (!args->to.empty() || !args->from.empty() || !args->out.empty()))
      throw CLI::ValidationError("--detect", "want it without --to, --from and --out, got it with one of them");
    if (!args->detect && (args->to.empty() || args->out.empty()))
      throw CLI::ValidationError("--to", "want --to and --out, or --detect, got neither");
    if (!args->detect && !args->text.empty())
      throw CLI::ValidationError("--text", "want it with --detect, got it without");
    work = [args] { return args->detect ? detect_layout(*args) : convert(*args); };
  });
}

}  // namespace ropewalk::cli
