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
configure_package_config_file(cmake/ropewalk-config.cmake.in ropewalk-config.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/ropewalk)
write_basic_package_version_file(ropewalk-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/ropewalk-config.cmake ${CMAKE_CURRENT_BINARY_DIR}/ropewalk-config-version.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/ropewalk)
configure_file(cmake/ropewalk.pc.in ropewalk.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/ropewalk.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
