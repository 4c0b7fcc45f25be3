# The compiler and the runtime of CUDA, for builds that ask for its kernels. nvcc is found where it is not on the PATH too.
find_package(CUDAToolkit 12.0 REQUIRED)
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  set(CMAKE_CUDA_COMPILER ${CUDAToolkit_NVCC_EXECUTABLE})
endif()
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80 90)  # machine code for both, and PTX that later ones compile at start
endif()
enable_language(CUDA)
