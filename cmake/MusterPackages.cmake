# The packages the project stands on; each is one purpose (docs/ARCHITECTURE.md says which).

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(ZLIB REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS C)
find_package(MPI REQUIRED COMPONENTS C)
pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-0.1)
pkg_check_modules(HWLOC REQUIRED IMPORTED_TARGET hwloc>=2.0)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(CHECK REQUIRED IMPORTED_TARGET check)

# oneDNN's own CMake package asks for OpenCL headers on some distributions: look for the library itself.
find_path(ONEDNN_INCLUDE_DIR dnnl.h REQUIRED)
find_library(ONEDNN_LIBRARY NAMES dnnl REQUIRED)
add_library(muster_onednn INTERFACE)
target_include_directories(muster_onednn SYSTEM INTERFACE ${ONEDNN_INCLUDE_DIR})
target_link_libraries(muster_onednn INTERFACE ${ONEDNN_LIBRARY})
