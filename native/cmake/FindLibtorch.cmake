# Tierra::libtorch: the libraries of an existing libtorch or torch wheel, without its own find_package, which wants a
# whole CUDA toolkit.
#
#   TIERRA_TORCH_ROOT    folder with include/ and lib/
#   TIERRA_CUDA          link libtorch's CUDA back end
#   TIERRA_CUDA_INCLUDE  folder with cuda_runtime_api.h (a toolkit's or the wheel's)
#   TIERRA_CUDA_LIB      folder with libcudart
#
# Sets LIBTORCH_VERSION and LIBTORCH_RPATH.
set(TIERRA_TORCH_ROOT "" CACHE PATH "Folder with libtorch's include/ and lib/")
option(TIERRA_CUDA "Link libtorch's CUDA back end" OFF)
set(TIERRA_CUDA_INCLUDE "" CACHE PATH "Folder with cuda_runtime_api.h")
set(TIERRA_CUDA_LIB "" CACHE PATH "Folder with libcudart")

set(_config ${TIERRA_TORCH_ROOT}/share/cmake/Torch)
if(EXISTS ${_config}/TorchConfigVersion.cmake)
  file(STRINGS ${_config}/TorchConfigVersion.cmake _line REGEX "set\\(PACKAGE_VERSION ")
  string(REGEX REPLACE ".*\"(.*)\".*" "\\1" LIBTORCH_VERSION "${_line}")
endif()
# Wheels since 2.7 use the C++11 ABI; older configurations state theirs.
set(_abi 1)
if(EXISTS ${_config}/TorchConfig.cmake)
  file(STRINGS ${_config}/TorchConfig.cmake _line REGEX "_GLIBCXX_USE_CXX11_ABI=[01]")
  if(_line MATCHES "_GLIBCXX_USE_CXX11_ABI=([01])")
    set(_abi ${CMAKE_MATCH_1})
  endif()
endif()

set(_names c10 torch_cpu torch)
set(_folders ${TIERRA_TORCH_ROOT}/lib)
if(TIERRA_CUDA)
  list(APPEND _names c10_cuda torch_cuda)
  find_path(LIBTORCH_CUDA_INCLUDE cuda_runtime_api.h PATHS ${TIERRA_CUDA_INCLUDE} NO_DEFAULT_PATH REQUIRED)
  find_library(LIBTORCH_CUDART NAMES cudart libcudart.so.13 libcudart.so.12 PATHS ${TIERRA_CUDA_LIB} NO_DEFAULT_PATH
    REQUIRED)
  list(APPEND _folders ${TIERRA_CUDA_LIB})
endif()

set(_targets "")
set(_files "")
foreach(_name IN LISTS _names)
  find_library(LIBTORCH_${_name} ${_name} PATHS ${TIERRA_TORCH_ROOT}/lib NO_DEFAULT_PATH)
  add_library(Tierra::${_name} SHARED IMPORTED)
  set_target_properties(Tierra::${_name} PROPERTIES IMPORTED_LOCATION "${LIBTORCH_${_name}}")
  list(APPEND _targets Tierra::${_name})
  list(APPEND _files LIBTORCH_${_name})
endforeach()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Libtorch REQUIRED_VARS ${_files} VERSION_VAR LIBTORCH_VERSION)

# The back ends register themselves when loaded, and no symbol of theirs need be used: keep them.
add_library(Tierra::libtorch INTERFACE IMPORTED)
target_link_libraries(Tierra::libtorch INTERFACE -Wl,--no-as-needed ${_targets} ${LIBTORCH_CUDART} -Wl,--as-needed)
target_include_directories(Tierra::libtorch SYSTEM INTERFACE
  ${TIERRA_TORCH_ROOT}/include ${TIERRA_TORCH_ROOT}/include/torch/csrc/api/include)
target_compile_definitions(Tierra::libtorch INTERFACE _GLIBCXX_USE_CXX11_ABI=${_abi})
if(TIERRA_CUDA)
  target_include_directories(Tierra::libtorch SYSTEM INTERFACE ${LIBTORCH_CUDA_INCLUDE})
  target_compile_definitions(Tierra::libtorch INTERFACE TIERRA_CUDA=1)
endif()
string(REPLACE ";" ":" LIBTORCH_RPATH "${_folders}")
