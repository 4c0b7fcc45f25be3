# Toolchain: builds for WebAssembly with Debian's emscripten and runs what it built under node.
set(EMSCRIPTEN_SYSTEM_PROCESSOR wasm32)
find_program(ROPEWALK_NODE NAMES node nodejs)
# node of another origin than Debian's does not look where Debian's node-acorn lies, which the linker's own scripts load.
set(ROPEWALK_NODE_MODULES /usr/share/nodejs)
set(CMAKE_C_LINKER_LAUNCHER ${CMAKE_COMMAND} -E env NODE_PATH=${ROPEWALK_NODE_MODULES})
set(CMAKE_CXX_LINKER_LAUNCHER ${CMAKE_C_LINKER_LAUNCHER})
if(ROPEWALK_NODE)  # without it nothing links either
  set(CMAKE_CROSSCOMPILING_EMULATOR ${ROPEWALK_NODE})
endif()

find_path(ROPEWALK_EMSCRIPTEN cmake/Modules/Platform/Emscripten.cmake PATHS ENV EMSCRIPTEN /usr/share/emscripten
          NO_CMAKE_FIND_ROOT_PATH REQUIRED)
include(${ROPEWALK_EMSCRIPTEN}/cmake/Modules/Platform/Emscripten.cmake)

# Vectors of 128 bits and exceptions of WebAssembly's own: Chrome 95, Firefox 100, Safari 16.4, node 17. What a module
# throws itself needs no JavaScript then.
set(flags "-msimd128 -fwasm-exceptions")
# What emscripten 3.1.6's libc++ lacks of C++20, and an <omp.h> for one thread.
string(APPEND flags " -isystem ${CMAKE_CURRENT_LIST_DIR}/wasm32/include")
# For size; kernels are at -O2 (src/cpu). Not -O3, at which clang 14 does not come to an end with
# src/cpu/targets/wasm128.cpp: its instruction selection turns lanes that nobody reads round and round. And no loops made
# vectors of, which it gets wrong in src/cpu/targets/scalar.cpp: the tests of caches find other numbers.
set(CMAKE_C_FLAGS_RELEASE "-Os -fno-vectorize -DNDEBUG" CACHE STRING "")
set(CMAKE_CXX_FLAGS_RELEASE "-Os -fno-vectorize -DNDEBUG" CACHE STRING "")
set(CMAKE_C_FLAGS_INIT "-msimd128")
set(CMAKE_CXX_FLAGS_INIT "${flags}")
# Programs are for node.
string(JOIN " " CMAKE_EXE_LINKER_FLAGS_INIT -fwasm-exceptions -sENVIRONMENT=node -sALLOW_MEMORY_GROWTH=1
       --pre-js ${CMAKE_CURRENT_LIST_DIR}/wasm32/environment.js)
set(CMAKE_POSITION_INDEPENDENT_CODE OFF)

# OpenMP, and what is the same on every machine.
list(PREPEND CMAKE_MODULE_PATH ${CMAKE_CURRENT_LIST_DIR}/wasm32 ${CMAKE_CURRENT_LIST_DIR}/cross)
