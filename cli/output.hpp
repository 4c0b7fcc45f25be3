#pragma once

#include <atomic>
#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>

namespace ropewalk::cli {

/// Where bytes go: stdout, or a file that appears whole or not at all (a temporary beside it, then a rename).
/// Opened before any long work, so that an unwritable place is refused at once. Throws Refused: exit code 2 for a file,
/// 1 for stdout; a reader that closed the pipe ends the tool without a word.
class Output {
 public:
  static Output to_stdout();
  /// Refuses a folder, a missing parent and a place that may not be written.
  static Output to_file(const std::string& path);
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

/// From here on SIGHUP, SIGINT and SIGTERM drop the temporaries of this process before it dies of them. A verb that
/// wants to end in order installs its own handler afterwards.
void drop_temporaries_on_signals();

/// For a verb that ends in order: the first of those signals only sets `interrupted`; a second one drops the
/// temporaries and kills. One that was ignored when the tool started stays ignored.
void note_signals();
extern std::atomic<bool> interrupted;

/// True if two paths are one regular file, or would be (a name that is not there yet). /dev/null is never the same.
bool same_file(const std::string& a, const std::string& b);

/// Refuses to write over what is read: `option` names the result's place, `inputs` the paths (empty ones are skipped).
void want_file_of_its_own(const std::string& option, const std::string& path,
                          std::initializer_list<std::string> inputs);

/// Makes the folder if it is not there. Refuses what is no folder or may not be written.
void make_folder(const std::string& path, const std::string& option);

}  // namespace ropewalk::cli
