# OpenMP::OpenMP_CXX for WebAssembly, which has one thread here: the pragmas are not looked at, and omp.h says so.
if(NOT TARGET OpenMP::OpenMP_CXX)
  add_library(OpenMP::OpenMP_CXX INTERFACE IMPORTED GLOBAL)
  set_target_properties(OpenMP::OpenMP_CXX PROPERTIES INTERFACE_COMPILE_OPTIONS -Wno-unknown-pragmas)
endif()
set(OpenMP_CXX_FOUND TRUE)
set(OpenMP_FOUND TRUE)
