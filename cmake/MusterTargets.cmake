# What every target of the project shares: the language level, the warnings, the sanitizers, the include root.

add_library(muster_options INTERFACE)
target_include_directories(muster_options INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_definitions(muster_options INTERFACE _GNU_SOURCE)
target_compile_options(muster_options INTERFACE
  -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wundef -Wformat=2
  -fno-math-errno -ffp-contract=off -fvisibility=hidden)
if(MUSTER_WERROR)
  target_compile_options(muster_options INTERFACE -Werror)
endif()
if(MUSTER_SANITIZE)
  target_compile_options(muster_options INTERFACE -fsanitize=${MUSTER_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(muster_options INTERFACE -fsanitize=${MUSTER_SANITIZE})
endif()

# muster_library(NAME SOURCES ... LINKS ...): a static library of one folder.
function(muster_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINKS" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  target_link_libraries(${name} PUBLIC ${arg_LINKS} PRIVATE muster_options)
  target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR})
endfunction()

# muster_test(NAME SOURCES ... LINKS ... [LABELS ...] [RANKS n] [TIMEOUT s]): a Check program and its CTest entry;
# with RANKS it runs under mpirun.
function(muster_test name)
  cmake_parse_arguments(arg "" "RANKS;TIMEOUT" "SOURCES;LINKS;LABELS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_LINKS} muster_options PkgConfig::CHECK)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  if(arg_RANKS)
    add_test(NAME ${name}_${arg_RANKS} COMMAND ${MPIEXEC_EXECUTABLE} -n ${arg_RANKS} $<TARGET_FILE:${name}>)
    muster_test_environment(${name}_${arg_RANKS} ${arg_RANKS} ${arg_TIMEOUT} "${arg_LABELS}")
  else()
    add_test(NAME ${name} COMMAND ${name})
    muster_test_environment(${name} 1 ${arg_TIMEOUT} "${arg_LABELS}")
  endif()
endfunction()

# The environment in which Open MPI behaves the same on a laptop, in a container and as root.
function(muster_test_environment test processors timeout labels)
  set_tests_properties(${test} PROPERTIES
    TIMEOUT ${timeout} PROCESSORS ${processors} SKIP_RETURN_CODE 77 LABELS "${labels}"
    ENVIRONMENT "OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1;OMPI_MCA_rmaps_base_oversubscribe=1;OMPI_MCA_hwloc_base_binding_policy=none;PRTE_MCA_rmaps_default_mapping_policy=slot:oversubscribe;PRTE_MCA_hwloc_default_binding_policy=none;OMPI_MCA_mpi_yield_when_idle=1;OMPI_MCA_pml=ob1;OMPI_MCA_btl=self,vader;MUSTER_BIN=${CMAKE_BINARY_DIR}/bin;MUSTER_SOURCE=${CMAKE_SOURCE_DIR};OMP_WAIT_POLICY=passive;CK_FORK=no")
endfunction()
