# Which of libtorch's process groups src/dist can use: Gloo wherever libtorch has it, NCCL with a CUDA build and its header.
#
#   TIERRA_NCCL_INCLUDE  folder with nccl.h, or empty
set(TIERRA_NCCL_INCLUDE "" CACHE PATH "Folder with nccl.h")

if(NOT DEFINED TIERRA_HAS_GLOO)
  # One function of libtorch's Gloo, by name alone: quicker than its headers.
  file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/hasGloo.cc
    "namespace gloo { class Context { public: void closeConnections(); }; }\n"
    "int main(int count, char**) { if (count > 1) static_cast<gloo::Context*>(nullptr)->closeConnections(); return 0; }\n")
  try_compile(TIERRA_HAS_GLOO ${CMAKE_CURRENT_BINARY_DIR}/hasGloo ${CMAKE_CURRENT_BINARY_DIR}/hasGloo.cc
    LINK_LIBRARIES Tierra::libtorch)
endif()
if(TIERRA_HAS_GLOO)
  set_property(SOURCE src/dist/gloo.cc APPEND PROPERTY COMPILE_DEFINITIONS TIERRA_GLOO=1)
  set_property(SOURCE src/dist/gloo.cc APPEND PROPERTY COMPILE_OPTIONS "-isystem${CMAKE_CURRENT_SOURCE_DIR}/gloo")
endif()

# libtorch's header takes most of CUDA's: a toolkit has it, the wheels beside torch have it in folders of their own. Tried, since a
# build for one GPU must not fail for want of it.
if(TIERRA_CUDA AND TIERRA_NCCL_INCLUDE)
  file(GLOB _nvidia ${TIERRA_TORCH_ROOT}/../nvidia/*/include)
  set(_nccl_options "-isystem${TIERRA_NCCL_INCLUDE}")
  foreach(_folder IN LISTS _nvidia)
    list(APPEND _nccl_options "-isystem${_folder}")
  endforeach()
  if(NOT DEFINED TIERRA_HAS_NCCL)
    file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/hasNccl.cc
      "#define USE_C10D_NCCL\n#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>\nint main() { return 0; }\n")
    try_compile(TIERRA_HAS_NCCL ${CMAKE_CURRENT_BINARY_DIR}/hasNccl ${CMAKE_CURRENT_BINARY_DIR}/hasNccl.cc
      COMPILE_DEFINITIONS ${_nccl_options} LINK_LIBRARIES Tierra::libtorch CXX_STANDARD 20
      OUTPUT_VARIABLE _nccl_problem)
    if(NOT TIERRA_HAS_NCCL)
      message(WARNING "building without NCCL, since its use does not compile:\n${_nccl_problem}")
    endif()
  endif()
  if(TIERRA_HAS_NCCL)
    set_property(SOURCE src/dist/nccl.cc APPEND PROPERTY COMPILE_DEFINITIONS TIERRA_NCCL=1)
    set_property(SOURCE src/dist/nccl.cc APPEND PROPERTY COMPILE_OPTIONS ${_nccl_options})
  endif()
endif()
message(STATUS "Collectives: Gloo '${TIERRA_HAS_GLOO}', NCCL '${TIERRA_HAS_NCCL}' (nccl.h in '${TIERRA_NCCL_INCLUDE}')")
