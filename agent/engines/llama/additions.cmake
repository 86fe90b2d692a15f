# What edge-agent adds to llama.cpp: agent/hardware/wheel.py passes this file to CMake as CMAKE_PROJECT_llama_cpp_INCLUDE,
# and EDGE_AGENT_KERNELS where the processor has what those need.
include("${CMAKE_CURRENT_LIST_DIR}/maps/text_map.cmake")
include("${CMAKE_CURRENT_LIST_DIR}/sampling/best_tokens.cmake")
if(EDGE_AGENT_KERNELS)
    include("${CMAKE_CURRENT_LIST_DIR}/kernels/block_matmul.cmake")
endif()
