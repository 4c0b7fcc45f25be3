#pragma once

#include <nanobind/nanobind.h>

#include <cxxabi.h>
#include <unistd.h>

namespace ropewalk::python {

/// Gives the interpreter's lock away while it lives.
///
/// Before 3.14 an interpreter that shuts down ends a daemon thread that wants the lock back by pthread_exit
/// (Python/ceval_gil.h, take_gil). glibc unwinds the thread's stack for that, and the first frame that is noexcept, a
/// destructor or nanobind's own, would end the whole process by std::terminate. Here such a thread sleeps until the
/// process is gone, as 3.14 has it.
class OthersMayRun {
 public:
  OthersMayRun() noexcept : state_(PyEval_SaveThread()) {}
  OthersMayRun(const OthersMayRun&) = delete;
  OthersMayRun& operator=(const OthersMayRun&) = delete;
#if defined(__GLIBCXX__)
  ~OthersMayRun() {
    try {
      PyEval_RestoreThread(state_);
    } catch (const abi::__forced_unwind&) {
      for (;;) static_cast<void>(pause());
    }
  }
#else
  ~OthersMayRun() { PyEval_RestoreThread(state_); }
#endif

 private:
  PyThreadState* const state_;
};

}  // namespace ropewalk::python
