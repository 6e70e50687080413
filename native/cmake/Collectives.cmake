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

if(TIERRA_CUDA AND TIERRA_NCCL_INCLUDE)
  set_property(SOURCE src/dist/nccl.cc APPEND PROPERTY COMPILE_DEFINITIONS TIERRA_NCCL=1)
  set_property(SOURCE src/dist/nccl.cc APPEND PROPERTY COMPILE_OPTIONS "-isystem${TIERRA_NCCL_INCLUDE}")
endif()
message(STATUS "Collectives: Gloo '${TIERRA_HAS_GLOO}', nccl.h in '${TIERRA_NCCL_INCLUDE}'")
