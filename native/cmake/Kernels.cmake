# kernelFiles.inc: native/kernels as C++ raw strings, made again whenever a kernel changes.
file(GLOB _kernels CONFIGURE_DEPENDS
  ${CMAKE_CURRENT_SOURCE_DIR}/kernels/*.cu ${CMAKE_CURRENT_SOURCE_DIR}/kernels/*.cuh ${CMAKE_CURRENT_SOURCE_DIR}/kernels/*.h)
set(TIERRA_KERNEL_FILES "")
foreach(_kernel IN LISTS _kernels)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${_kernel})
  file(READ ${_kernel} _text)
  get_filename_component(_name ${_kernel} NAME)
  string(APPEND TIERRA_KERNEL_FILES "{\"${_name}\", R\"kernel(${_text})kernel\"},\n")
endforeach()
file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/generated/kernelFiles.inc CONTENT "@TIERRA_KERNEL_FILES@" @ONLY)

set(_readers ${TIERRA_SOURCES})
list(FILTER _readers INCLUDE REGEX "/src/(cuda|nn)/")
set_property(SOURCE ${_readers} APPEND PROPERTY INCLUDE_DIRECTORIES
  ${CMAKE_CURRENT_SOURCE_DIR}/kernels ${CMAKE_CURRENT_BINARY_DIR}/generated)
