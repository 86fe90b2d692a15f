# Makes llama.cpp keep its vocabulary in the maps of text_map.h: 18 MB less in each process for 152,000 tokens.
# What follows waits until llama.cpp has declared its targets.
#
# Its sources stay as they are: a copy of llama-vocab.cpp with two declarations exchanged is compiled in its place. Where
# they are not found, as in another version of llama.cpp, nothing is exchanged and vocabularies are as large as ever.
set(EDGE_AGENT_MAPS "${CMAKE_CURRENT_LIST_DIR}")

function(edge_agent_exchange_maps)
    if(NOT TARGET llama)
        return()
    endif()
    get_target_property(folder llama SOURCE_DIR)
    get_target_property(sources llama SOURCES)
    set(tokens "    std::unordered_map<std::string, llama_token> token_to_id;\n    std::vector<token_data>")
    set(merges "    std::unordered_map<std::pair<std::string, std::string>, int, pair_hash> bpe_ranks;")
    file(READ "${folder}/llama-vocab.cpp" source)
    string(FIND "${source}" "${tokens}" tokens_at)
    string(FIND "${source}" "${merges}" merges_at)
    list(FIND sources "llama-vocab.cpp" source_at)
    if(tokens_at EQUAL -1 OR merges_at EQUAL -1 OR source_at EQUAL -1)
        message(WARNING "edge-agent: this llama.cpp declares its vocabulary's maps in another way; they are left alone")
        return()
    endif()
    string(REPLACE "${tokens}" "    edge_agent::TextMap token_to_id;\n    std::vector<token_data>" source "${source}")
    string(REPLACE "${merges}" "    edge_agent::TextPairMap bpe_ranks;" source "${source}")
    set(copy "${CMAKE_BINARY_DIR}/edge-agent/llama-vocab.cpp")
    file(WRITE "${copy}" "#include \"text_map.h\"\n#line 1 \"llama-vocab.cpp\"\n${source}")
    list(TRANSFORM sources REPLACE "^llama-vocab\\.cpp$" "${copy}")
    set_target_properties(llama PROPERTIES SOURCES "${sources}")
    # A file of its own as before: llama.cpp compiles most of its others together.
    set_source_files_properties("${copy}" TARGET_DIRECTORY llama PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
    target_include_directories(llama PRIVATE "${folder}" "${EDGE_AGENT_MAPS}")
endfunction()

cmake_language(DEFER CALL edge_agent_exchange_maps)
