# nlohmann_json::nlohmann_json for a cross build: headers alone, so those of the machine that builds do. Its package file
# would add all of /usr/include; here a link in the build folder shows the compiler this one library.
find_path(ROPEWALK_NLOHMANN_JSON nlohmann/json.hpp PATHS /usr/include NO_CMAKE_FIND_ROOT_PATH)
mark_as_advanced(ROPEWALK_NLOHMANN_JSON)

set(nlohmann_json_VERSION)
foreach(header json.hpp detail/abi_macros.hpp)  # 3.11 moved the macros to the second
  if(NOT EXISTS ${ROPEWALK_NLOHMANN_JSON}/nlohmann/${header})
    continue()
  endif()
  file(STRINGS ${ROPEWALK_NLOHMANN_JSON}/nlohmann/${header} lines REGEX "define NLOHMANN_JSON_VERSION_(MAJOR|MINOR|PATCH) ")
  foreach(line IN LISTS lines)
    string(REGEX MATCH "VERSION_[A-Z]+ +([0-9]+)" ignored "${line}")
    list(APPEND nlohmann_json_VERSION ${CMAKE_MATCH_1})
  endforeach()
endforeach()
list(JOIN nlohmann_json_VERSION . nlohmann_json_VERSION)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(nlohmann_json REQUIRED_VARS ROPEWALK_NLOHMANN_JSON VERSION_VAR nlohmann_json_VERSION)

if(nlohmann_json_FOUND AND NOT TARGET nlohmann_json::nlohmann_json)
  set(folder ${CMAKE_BINARY_DIR}/headers/nlohmann_json)
  file(MAKE_DIRECTORY ${folder})
  file(CREATE_LINK ${ROPEWALK_NLOHMANN_JSON}/nlohmann ${folder}/nlohmann SYMBOLIC)
  add_library(nlohmann_json::nlohmann_json INTERFACE IMPORTED)
  target_include_directories(nlohmann_json::nlohmann_json INTERFACE ${folder})
endif()
