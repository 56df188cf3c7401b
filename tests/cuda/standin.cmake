# The whole back end without a GPU: the plug-in's own files over emulated kernels, the runtime's stand-in, one for
# cuBLASLt and one for cuDNN's plans. Tests name it in MUSTER_CUDA_PLUGIN; on a machine with a GPU they can be given
# the real one.
get_property(plugin_sources GLOBAL PROPERTY MUSTER_CUDA_SOURCES)
if(CUDNN_INCLUDE_DIR AND CUDNN_LIBRARY)
  get_property(attention GLOBAL PROPERTY MUSTER_CUDNN_SOURCES)
  list(FILTER attention INCLUDE REGEX "cuda_sdpa\\.c$")
  list(APPEND attention standin/cudnn_standin.c)
else()
  get_property(attention GLOBAL PROPERTY MUSTER_CUDNN_NONE)
endif()
foreach(kind emulated watched)
  add_library(muster_cuda_${kind} MODULE ${plugin_sources} ${attention} standin/cublaslt_standin.c)
  if(CUDNN_INCLUDE_DIR AND CUDNN_LIBRARY)
    target_include_directories(muster_cuda_${kind} SYSTEM PRIVATE ${CUDNN_INCLUDE_DIR})
  endif()
  target_link_libraries(muster_cuda_${kind} PRIVATE muster_cuda_kernels_${kind} muster_base muster_options)
  target_link_options(muster_cuda_${kind} PRIVATE LINKER:--no-undefined)
  set_target_properties(muster_cuda_${kind} PROPERTIES
    LINKER_LANGUAGE CXX LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
endforeach()

foreach(test test_cuda_backend test_cuda_large test_cuda_table test_cuda_memory)
  muster_test(${test} SOURCES ${test}.c compare_device.c ../kernels/cases.c ../kernels/compare_array.c
    LINKS muster_kernels muster_kernels_ref LABELS cuda)
  add_dependencies(${test} muster_cuda_emulated)
  set_property(TEST ${test} APPEND PROPERTY ENVIRONMENT
    "MUSTER_CUDA_PLUGIN=$<TARGET_FILE:muster_cuda_emulated>")
endforeach()
muster_test(test_cuda_sum SOURCES test_cuda_sum.c compare_device.c ../kernels/compare_array.c ../comm/exact_case.c
  LINKS muster_kernels muster_kernels_ref muster_comm LABELS cuda)
add_dependencies(test_cuda_sum muster_cuda_emulated)
set_property(TEST test_cuda_sum APPEND PROPERTY ENVIRONMENT
  "MUSTER_CUDA_PLUGIN=$<TARGET_FILE:muster_cuda_emulated>")
muster_test(test_cuda_engine SOURCES test_cuda_engine.c ../worker/engine_fixture.c ../golden/golden.c
  LINKS muster_engine muster_kernels_ref LABELS cuda)
# Whole models hand kernels the device's memory only.
add_dependencies(test_cuda_engine muster_cuda_watched)
set_property(TEST test_cuda_engine APPEND PROPERTY ENVIRONMENT
  "MUSTER_CUDA_PLUGIN=$<TARGET_FILE:muster_cuda_watched>" MUSTER_STANDIN_PLACES=1)
muster_test(test_cuda_devices SOURCES test_cuda_devices.c LINKS muster_kernels LABELS cuda)
add_dependencies(test_cuda_devices muster_cuda_emulated)
set_property(TEST test_cuda_devices APPEND PROPERTY ENVIRONMENT
  "MUSTER_CUDA_PLUGIN=$<TARGET_FILE:muster_cuda_emulated>")
# No host code may touch device memory; looking costs seconds, so one test looks.
set_property(TEST test_cuda_table APPEND PROPERTY ENVIRONMENT MUSTER_STANDIN_PROTECT=1)

# Copies over a runtime of its own.
muster_test(test_cuda_staging SOURCES test_cuda_staging.c ${CMAKE_SOURCE_DIR}/kernels/cuda/cuda_staging.c
  ${CMAKE_SOURCE_DIR}/kernels/cuda/cuda_memory.c LINKS muster_base LABELS cuda)
target_include_directories(test_cuda_staging SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})

# Not a test: the products of a step, one by one.
add_executable(bench_products bench_products.c)
target_link_libraries(bench_products PRIVATE muster_kernels muster_options)

# The measured rate over a device of its own.
muster_test(test_cuda_peak SOURCES test_cuda_peak.c ${CMAKE_SOURCE_DIR}/kernels/cuda/cuda_peak.c
  LINKS muster_base LABELS cuda)
target_include_directories(test_cuda_peak SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})

# The real plug-in, as far as it goes without a driver; and a plug-in of another version.
add_library(cuda_plugin_of_another_version MODULE plugin_of_another_version.c)
target_link_libraries(cuda_plugin_of_another_version PRIVATE muster_options)
set_target_properties(cuda_plugin_of_another_version PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
muster_test(test_cuda_plugin SOURCES test_cuda_plugin.c LINKS muster_kernels LABELS cuda)
add_dependencies(test_cuda_plugin muster_cuda cuda_plugin_of_another_version)
set_property(TEST test_cuda_plugin APPEND PROPERTY ENVIRONMENT
  "MUSTER_TEST_PLUGIN=$<TARGET_FILE:muster_cuda>"
  "MUSTER_TEST_PLUGIN_OTHER=$<TARGET_FILE:cuda_plugin_of_another_version>")

# Plans of cuDNN for a described device, with a driver that does nothing.
add_library(fake_libcuda MODULE fake_libcuda.c)
set_target_properties(fake_libcuda PROPERTIES PREFIX "" OUTPUT_NAME fake_libcuda
  LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
target_link_options(fake_libcuda PRIVATE LINKER:-soname,libcuda.so.1)
if(CUDNN_INCLUDE_DIR AND CUDNN_LIBRARY)
  get_property(cudnn_sources GLOBAL PROPERTY MUSTER_CUDNN_SOURCES)
  list(FILTER cudnn_sources INCLUDE REGEX "cuda_sdpa_graph\\.c$")
  muster_test(test_cuda_sdpa SOURCES test_cuda_sdpa.c sdpa_code.c ${cudnn_sources} LINKS muster_base LABELS cuda)
  target_include_directories(test_cuda_sdpa SYSTEM PRIVATE ${CUDNN_INCLUDE_DIR} ${CUDAToolkit_INCLUDE_DIRS})
  target_link_libraries(test_cuda_sdpa PRIVATE ${CUDNN_LIBRARY} ${CMAKE_DL_LIBS})
  target_compile_definitions(test_cuda_sdpa PRIVATE TEST_WITH_CUDNN)
  get_filename_component(cudnn_folder ${CUDNN_LIBRARY} DIRECTORY)
  set_property(TARGET test_cuda_sdpa APPEND PROPERTY BUILD_RPATH ${cudnn_folder} "${CUDAToolkit_LIBRARY_DIR}")
  # what is handed to a plan, with plans of its own: the header is enough
  muster_test(test_cuda_sdpa_slices SOURCES test_cuda_sdpa_slices.c ${CMAKE_SOURCE_DIR}/kernels/cuda/cuda_sdpa.c
    LINKS muster_base m LABELS cuda)
  target_include_directories(test_cuda_sdpa_slices SYSTEM PRIVATE ${CUDNN_INCLUDE_DIR} ${CUDAToolkit_INCLUDE_DIRS})
else()
  muster_test(test_cuda_sdpa SOURCES test_cuda_sdpa.c LINKS muster_base LABELS cuda)
endif()
add_dependencies(test_cuda_sdpa fake_libcuda)
set_property(TEST test_cuda_sdpa APPEND PROPERTY ENVIRONMENT "MUSTER_TEST_FAKE_DRIVER=$<TARGET_FILE:fake_libcuda>")
