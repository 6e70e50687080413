# Tierra::nodeapi: Node-API headers. cmake-js passes their folders in CMAKE_JS_INC; a plain cmake run asks node for them.
set(NODEAPI_INCLUDE_DIRS ${CMAKE_JS_INC})
if(NOT NODEAPI_INCLUDE_DIRS)
  execute_process(
    COMMAND node -p "require('node-api-headers').include_dir + ';' + require('node-addon-api').include_dir"
    WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}
    OUTPUT_VARIABLE NODEAPI_INCLUDE_DIRS OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
endif()

add_library(Tierra::nodeapi INTERFACE IMPORTED)
target_include_directories(Tierra::nodeapi SYSTEM INTERFACE ${NODEAPI_INCLUDE_DIRS})
target_compile_definitions(Tierra::nodeapi INTERFACE NAPI_VERSION=9 NODE_ADDON_API_CPP_EXCEPTIONS_ALL)
