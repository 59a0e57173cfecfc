# find_package(quorate): target quorate::client, header <quorate/database.h>.
include(CMakeFindDependencyMacro)
find_dependency(Threads)
find_dependency(fmt CONFIG)
find_dependency(absl CONFIG)
find_dependency(Protobuf)
find_dependency(gRPC CONFIG)
find_dependency(spdlog CONFIG)
find_dependency(PkgConfig)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  message(WARNING "quorate: g++ 12 miscompiles ordinary coroutines; use the blocking forms only, "
                  "or clang 16")
endif()
include("${CMAKE_CURRENT_LIST_DIR}/quorateTargets.cmake")
# Where protoc finds quorate/options.proto.
find_path(quorate_PROTO_DIR quorate/options.proto PATHS "${CMAKE_CURRENT_LIST_DIR}/../../../include" NO_DEFAULT_PATH)
