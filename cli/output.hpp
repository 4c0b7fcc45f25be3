#pragma once

#include <atomic>
#include <cstddef>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace ropewalk::cli {

/// Where bytes go: stdout, or a file that appears whole or not at all (a temporary beside it, then a rename).
/// Opened before any long work, so that an unwritable place is refused at once. Throws Refused: exit code 2 for a place
/// that will not do, 1 for what could not be written whole (a full disk); a reader that closed the pipe ends the tool
/// without a word.
class Output {
 public:
  static Output to_stdout();
  /// Refuses a folder, a missing parent and a place that may not be written. `shown`: its name in messages, if another.
  static Output to_file(const std::string& path, const std::string& shown = {});
  /// `path`, or stdout for "" and "-".
  static Output to(const std::string& path);

  Output(Output&& other) noexcept;
  Output& operator=(Output&&) = delete;
  ~Output();  ///< drops what was not finished

  bool is_terminal() const noexcept;
  void write(std::string_view bytes);
  void write(const void* bytes, std::size_t size) { write({static_cast<const char*>(bytes), size}); }
  void flush();
  /// Everything out, and the file in its place.
  void finish();

 private:
  Output(int fd, std::string name) : fd_(fd), name_(std::move(name)) {}
  void write_all(std::string_view bytes);

  int fd_ = -1;
  std::string name_;       // as the user wrote it
  std::string target_;     // what the rename replaces; empty: written directly
  std::string temporary_;  // what is there until then
  std::string buffer_;
};

/// From here on SIGHUP, SIGINT, SIGQUIT and SIGTERM drop what is not finished, files and folders, before this process
/// dies of them. A verb that wants to end in order installs its own handler afterwards.
void drop_temporaries_on_signals();

/// For a verb that ends in order: the first SIGHUP, SIGINT or SIGTERM only sets `interrupted`; a second one, or
/// SIGQUIT, drops what is not finished and kills. One that was ignored when the tool started stays ignored.
void note_signals();
extern std::atomic<bool> interrupted;

/// True if two paths are one regular file, or would be (a name that is not there yet). /dev/null is never the same.
bool same_file(const std::string& a, const std::string& b);

/// "folder/name", however many slashes `folder` ends in.
std::string in_folder(std::string folder, const std::string& name);

/// Refuses to write over what is read: `option` names the result's place, `inputs` the paths (empty ones are skipped).
void want_file_of_its_own(const std::string& option, const std::string& path,
                          std::initializer_list<std::string> inputs);

/// Ends the verb with exit code 1: `name` could not be written for this reason (an errno).
[[noreturn]] void not_written_whole(const std::string& name, int reason);

/// A folder to write into, made with those above it if they are not there; what was made goes again in the end unless
/// it was kept or something is in it. Refuses what is no folder or may not be written.
class MadeFolders {
 public:
  MadeFolders(const std::string& path, const std::string& option);
  MadeFolders(const MadeFolders&) = delete;
  MadeFolders& operator=(const MadeFolders&) = delete;
  ~MadeFolders();
  void keep();

 private:
  MadeFolders() = default;

  std::vector<std::string> made_;  // the outermost first
};

/// A folder that appears whole or not at all: it stands beside its place until it is finished. The place must be free
/// or an empty folder, to which a link may lead.
class NewFolder {
 public:
  NewFolder(const std::string& path, const std::string& option);
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;
  ~NewFolder();  ///< drops what was not finished

  Output file(const std::string& name);
  void finish();

 private:
  void forget_all();

  std::string option_;
  std::filesystem::path target_;
  MadeFolders parents_;
  std::filesystem::path folder_;
  std::vector<std::string> files_;
};

}  // namespace ropewalk::cli
