# TIERRA_SOURCES: every .cc under src/, with the instruction set that its suffix names.
file(GLOB_RECURSE TIERRA_SOURCES CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/src/*.cc)

set(_avx2 ${TIERRA_SOURCES})
list(FILTER _avx2 INCLUDE REGEX "_avx2\\.cc$")
set(_avx512 ${TIERRA_SOURCES})
list(FILTER _avx512 INCLUDE REGEX "_avx512\\.cc$")
set(_neon ${TIERRA_SOURCES})
list(FILTER _neon INCLUDE REGEX "_neon\\.cc$")
set(_optim ${TIERRA_SOURCES})
list(FILTER _optim INCLUDE REGEX "/src/(optim|cuda)/")

# Where a state chunk lives must not change a bit: fused multiply-add only where it is written.
set_property(SOURCE ${_optim} APPEND PROPERTY COMPILE_OPTIONS -ffp-contract=off)

# Plain loops that a compiler makes vectors of: neither errno nor floating-point traps are looked at, and no bit depends on them.
set(_compressed ${TIERRA_SOURCES})
list(FILTER _compressed INCLUDE REGEX "/optim/compressed[^/]*\\.cc$")
set_property(SOURCE ${_compressed} APPEND PROPERTY COMPILE_OPTIONS -fno-math-errno -fno-trapping-math)

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  set_property(SOURCE ${_avx2} APPEND PROPERTY COMPILE_OPTIONS -mavx2 -mfma -mf16c)
  set_property(SOURCE ${_avx512} APPEND PROPERTY COMPILE_OPTIONS
    -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma -mf16c)
else()
  list(REMOVE_ITEM TIERRA_SOURCES ${_avx2} ${_avx512})
endif()
if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  list(REMOVE_ITEM TIERRA_SOURCES ${_neon})
endif()
