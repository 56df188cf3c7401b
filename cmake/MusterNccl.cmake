# NCCL ships no CMake package: its header and library are looked for beside the CUDA toolkit's. pip and some
# distributions leave out the unversioned libnccl.so.

find_path(NCCL_INCLUDE_DIR nccl.h HINTS ENV NCCL_HOME ENV CUDA_HOME ${CUDAToolkit_INCLUDE_DIRS}
  PATHS /usr/local/cuda PATH_SUFFIXES include)
find_library(NCCL_LIBRARY NAMES nccl libnccl.so.2
  HINTS ENV NCCL_HOME ENV CUDA_HOME ${CUDAToolkit_LIBRARY_DIR} PATHS /usr/local/cuda PATH_SUFFIXES lib64 lib)
find_path(NCCL_CUDA_INCLUDE_DIR cuda_runtime.h HINTS ENV CUDA_HOME ${CUDAToolkit_INCLUDE_DIRS}
  PATHS /usr/local/cuda PATH_SUFFIXES include)
mark_as_advanced(NCCL_INCLUDE_DIR NCCL_LIBRARY NCCL_CUDA_INCLUDE_DIR)

# muster_nccl_sources(TARGET): the communicator on NCCL becomes a part of a target that does not link
# muster_comm, which would bring MPI with it.
function(muster_nccl_sources target)
  set(comm ${CMAKE_SOURCE_DIR}/comm)
  target_sources(${target} PRIVATE ${comm}/nccl.c ${comm}/nccl_setup.c ${comm}/nccl_log.c
    ${comm}/nccl_transport.c ${comm}/comm.c)
  target_include_directories(${target} SYSTEM PRIVATE ${NCCL_INCLUDE_DIR} ${NCCL_CUDA_INCLUDE_DIR})
endfunction()
