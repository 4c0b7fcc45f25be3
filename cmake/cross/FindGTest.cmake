# GTest::gtest_main for a cross build, compiled from the sources of Debian's package googletest.
find_path(ROPEWALK_GOOGLETEST googletest/src/gtest-all.cc PATHS /usr/src/googletest NO_CMAKE_FIND_ROOT_PATH)
mark_as_advanced(ROPEWALK_GOOGLETEST)
if(ROPEWALK_GOOGLETEST)
  file(STRINGS ${ROPEWALK_GOOGLETEST}/CMakeLists.txt line REGEX "GOOGLETEST_VERSION [0-9.]+")
  string(REGEX MATCH "[0-9]+[0-9.]*" GTest_VERSION "${line}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(GTest REQUIRED_VARS ROPEWALK_GOOGLETEST VERSION_VAR GTest_VERSION)

if(GTest_FOUND AND NOT TARGET GTest::gtest_main)
  find_package(Threads REQUIRED)
  set(sources ${ROPEWALK_GOOGLETEST}/googletest)
  add_library(ropewalk_gtest STATIC ${sources}/src/gtest-all.cc ${sources}/src/gtest_main.cc)
  target_include_directories(ropewalk_gtest SYSTEM PUBLIC ${sources}/include PRIVATE ${sources})
  target_link_libraries(ropewalk_gtest PUBLIC Threads::Threads)
  add_library(GTest::gtest_main ALIAS ropewalk_gtest)
endif()
