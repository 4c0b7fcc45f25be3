# Toolchain: builds for AArch64 Linux with Debian's g++-aarch64-linux-gnu and runs what it built under qemu-user.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)

# The C library of the package libc6-dev-arm64-cross. qemu-user-static names its programs otherwise.
set(ropewalk_cross_root /usr/aarch64-linux-gnu)
find_program(ROPEWALK_QEMU NAMES qemu-aarch64 qemu-aarch64-static)
if(ROPEWALK_QEMU)  # without it all builds and nothing runs
  set(CMAKE_CROSSCOMPILING_EMULATOR ${ROPEWALK_QEMU} -L ${ropewalk_cross_root})
endif()

# No library, header or package of the machine that builds. What is the same on every machine, cmake/cross looks up.
set(CMAKE_FIND_ROOT_PATH ${ropewalk_cross_root})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
list(PREPEND CMAKE_MODULE_PATH ${CMAKE_CURRENT_LIST_DIR}/cross)
