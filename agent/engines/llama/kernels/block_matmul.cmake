# Adds block_matmul.cpp to ggml's processor backend; what follows waits until llama.cpp has declared its targets.
set(EDGE_AGENT_KERNELS_FOLDER "${CMAKE_CURRENT_LIST_DIR}")

function(edge_agent_add_kernels)
    # Without tinyBLAS there is nothing to take the place of.
    if(NOT TARGET ggml-cpu OR NOT GGML_LLAMAFILE)
        return()
    endif()
    get_target_property(folder ggml-cpu SOURCE_DIR)
    target_sources(ggml-cpu PRIVATE "${EDGE_AGENT_KERNELS_FOLDER}/block_matmul.cpp")
    target_include_directories(ggml-cpu PRIVATE "${folder}" "${folder}/ggml-cpu")
    target_link_options(ggml-cpu PRIVATE
        "LINKER:--wrap=llamafile_sgemm" "LINKER:--wrap=ggml_compute_forward_mul_mat_tiled")
endfunction()

cmake_language(DEFER CALL edge_agent_add_kernels)
