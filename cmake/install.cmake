# What `cmake --install` leaves behind, and how other projects find it: find_package(ropewalk) or pkg-config ropewalk.
include(CMakePackageConfigHelpers)
install(TARGETS ropewalk EXPORT ropewalk-targets)
install(DIRECTORY include/ropewalk DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
# The suite that `ropewalk conform` asks.
install(DIRECTORY tests/golden/ DESTINATION ${CMAKE_INSTALL_DATADIR}/ropewalk/golden
        FILES_MATCHING PATTERN "*.json" PATTERN "README.md" PATTERN "malformed" EXCLUDE PATTERN "wrong" EXCLUDE)
# The opponents of `ropewalk bench`.
install(FILES bench/opponents.py DESTINATION ${CMAKE_INSTALL_DATADIR}/ropewalk/bench)
install(EXPORT ropewalk-targets NAMESPACE ropewalk:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/ropewalk)
# What a program of C links beside the library: the runtimes that a C++ compiler would have brought. A shared library names
# them itself.
set(ROPEWALK_CXX_RUNTIME ${CMAKE_CXX_IMPLICIT_LINK_LIBRARIES})
list(FILTER ROPEWALK_CXX_RUNTIME INCLUDE REGEX "^(stdc\\+\\+|c\\+\\+|m)$")
list(REMOVE_DUPLICATES ROPEWALK_CXX_RUNTIME)
list(TRANSFORM ROPEWALK_CXX_RUNTIME PREPEND " -l" OUTPUT_VARIABLE runtimes)
list(TRANSFORM OpenMP_CXX_LIB_NAMES PREPEND " -l" OUTPUT_VARIABLE threads)
string(REPLACE ";" "" runtimes "${threads}${runtimes}")
list(JOIN ROPEWALK_CXX_RUNTIME " " ROPEWALK_CXX_RUNTIME)
if(ROPEWALK_CUDA)  # a static library's kernels want the runtime of CUDA
  set(ROPEWALK_CUDA_DEPENDENCY "find_dependency(CUDAToolkit)")
  set(ROPEWALK_CUDA_LINK "\$<LINK_ONLY:CUDA::cudart_static>")
  set(ROPEWALK_CUDA_LIBS " -L${CUDAToolkit_LIBRARY_DIR} -lcudart_static -lpthread -ldl -lrt")
endif()
get_target_property(type ropewalk TYPE)
if(type STREQUAL "SHARED_LIBRARY")
  set(ROPEWALK_C_LIBS_PRIVATE "${ROPEWALK_CUDA_LIBS}${runtimes}")
  set(ROPEWALK_CUDA_LIBS "")
else()
  set(ROPEWALK_C_LIBS "${ROPEWALK_CUDA_LIBS}${runtimes}")
endif()
configure_package_config_file(cmake/ropewalk-config.cmake.in ropewalk-config.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/ropewalk)
write_basic_package_version_file(ropewalk-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/ropewalk-config.cmake ${CMAKE_CURRENT_BINARY_DIR}/ropewalk-config-version.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/ropewalk)
configure_file(cmake/ropewalk.pc.in ropewalk.pc @ONLY)
configure_file(cmake/ropewalk-c.pc.in ropewalk-c.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/ropewalk.pc ${CMAKE_CURRENT_BINARY_DIR}/ropewalk-c.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
