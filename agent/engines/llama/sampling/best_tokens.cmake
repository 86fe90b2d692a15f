# Adds best_tokens.cpp to llama.cpp; what follows waits until llama.cpp has declared its targets.
set(EDGE_AGENT_SAMPLING "${CMAKE_CURRENT_LIST_DIR}")

function(edge_agent_add_sampling)
    if(NOT TARGET llama)
        return()
    endif()
    set(source "${EDGE_AGENT_SAMPLING}/best_tokens.cpp")
    target_sources(llama PRIVATE "${source}")
    # A file of its own: llama.cpp compiles most of its others together.
    set_source_files_properties("${source}" TARGET_DIRECTORY llama PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
endfunction()

cmake_language(DEFER CALL edge_agent_add_sampling)
