// Opens the namespace of one target. No include guard on purpose: every target reads it.
//
// A target file is compiled with the instructions of its processor. An inline function or a template of a standard (or
// of our own common) header that it uses may be emitted there, and the linker is free to keep that copy for the whole
// program, which then stops on an older processor. Hence all that a target defines stands in its own unnamed namespace,
// and the files read between begin.hpp and end.hpp use fixed-width integers, intrinsics and each other, and nothing
// else.
#ifndef ROPEWALK_TARGET_NAMESPACE
#error "a target defines ROPEWALK_TARGET_NAMESPACE first"
#endif

#define ROPEWALK_INLINE inline __attribute__((always_inline))

namespace ropewalk::cpu::ROPEWALK_TARGET_NAMESPACE {
extern const KernelTable table;
namespace {
