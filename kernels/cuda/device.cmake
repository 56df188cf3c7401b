# Our own kernels, compiled for devices. Without contraction of a * b + c: where one rounding is wanted, the
# sources say fmaf, so that every compiler, and the emulation of the tests, rounds in the same places.
set(MUSTER_CUDA_KERNEL_SOURCES)
foreach(part attention_plain columns embedding loss norm pointwise update)
  list(APPEND MUSTER_CUDA_KERNEL_SOURCES ${CMAKE_CURRENT_LIST_DIR}/cuda_${part}.cu)
endforeach()
set_property(GLOBAL PROPERTY MUSTER_CUDA_KERNEL_SOURCES ${MUSTER_CUDA_KERNEL_SOURCES})

if(MUSTER_HAVE_CUDA)
  add_library(muster_cuda_kernels_device OBJECT ${MUSTER_CUDA_KERNEL_SOURCES})
  target_include_directories(muster_cuda_kernels_device PRIVATE ${CMAKE_SOURCE_DIR})
  target_compile_options(muster_cuda_kernels_device PRIVATE --fmad=false -Xcompiler=-Wall,-Wextra
    $<$<BOOL:${MUSTER_WERROR}>:-Werror=all-warnings>)
  set_target_properties(muster_cuda_kernels_device PROPERTIES
    CUDA_VISIBILITY_PRESET hidden CUDA_SEPARABLE_COMPILATION OFF)
endif()
