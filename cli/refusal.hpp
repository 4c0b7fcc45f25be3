#pragma once

#include <ropewalk/result.hpp>

#include <string>
#include <utility>

namespace ropewalk::cli {

// What the tool exits with. Scripts rely on them.
constexpr int kDone = 0;
constexpr int kFailed = 1;      ///< anything that is not the input's fault: interrupted, stdout gone, a full disk
constexpr int kInputWrong = 2;  ///< the input is wrong: one line on stderr says where, what was wanted and what came

/// Thrown to end a verb. main prints `ropewalk: path: message` (nothing for an empty message) and exits with the code.
struct Refused {
  Error error;
  int exit_code = kInputWrong;
};

[[noreturn]] inline void refuse(std::string path, std::string message, Code code = Code::kInvalid) {
  throw Refused{Error{code, std::move(path), std::move(message)}, kInputWrong};
}

/// The value, or the end of the verb.
template <class T>
T value_or_refuse(Result<T> result) {
  if (!result) throw Refused{result.error(), kInputWrong};
  return *std::move(result);
}

}  // namespace ropewalk::cli
