// The best tokens of a step, found in its logits.
//
// llama_sampler_sample first lists the whole vocabulary with 12 bytes a token, then looks through the list: with 152,000
// tokens half a millisecond for each sequence, in which all other threads of the next step wait. Greedy sampling wants
// one token of it, and a chain that begins with top-k wants k: one pass over the logits finds the best of each block,
// and only blocks whose best is among the k best of these can hold one of the k best of all.

#include "llama.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <vector>

namespace {

constexpr int32_t LANES = 16;
constexpr int32_t BLOCK = 4 * LANES;

// Lane by lane, so that a compiler makes vectors of it without leave to change what NaN means: `x > best` never takes it.
float best_of_block(const float * values) {
    float lanes[LANES];
    for (float & lane : lanes) {
        lane = -INFINITY;
    }
    for (int32_t row = 0; row < BLOCK; row += LANES) {
        for (int32_t lane = 0; lane < LANES; lane++) {
            lanes[lane] = values[row + lane] > lanes[lane] ? values[row + lane] : lanes[lane];
        }
    }
    return *std::max_element(lanes, lanes + LANES);
}

bool is_better(const llama_token_data & one, const llama_token_data & other) {
    return one.logit != other.logit ? one.logit > other.logit : one.id < other.id;
}

}  // namespace

// Writes the `wanted` (1 or more) best of `count` tokens to `best`, the best first, of equals the one with the lower
// number. Returns how many it wrote: fewer where there are fewer that are numbers.
extern "C" LLAMA_API int32_t edge_agent_best_tokens(
        const float * logits, int32_t count, int32_t wanted, llama_token_data * best) {
    const int32_t blocks = count / BLOCK;
    std::vector<float> tops(blocks);
    for (int32_t block = 0; block < blocks; block++) {
        tops[block] = best_of_block(logits + block * BLOCK);
    }
    float least = -INFINITY;  // of the k best of all, if it is not less
    if (blocks >= wanted) {
        std::vector<float> sorted = tops;
        std::nth_element(sorted.begin(), sorted.begin() + (wanted - 1), sorted.end(), std::greater<float>());
        least = sorted[wanted - 1];
    }
    std::vector<llama_token_data> found;
    const auto look_through = [&](int32_t begin, int32_t end) {
        for (int32_t token = begin; token < end; token++) {
            if (logits[token] >= least) {
                found.push_back({token, logits[token], 0.0f});
            }
        }
    };
    for (int32_t block = 0; block < blocks; block++) {
        if (tops[block] >= least) {
            look_through(block * BLOCK, (block + 1) * BLOCK);
        }
    }
    look_through(blocks * BLOCK, count);
    const int32_t written = std::min<int32_t>(wanted, (int32_t) found.size());
    std::partial_sort(found.begin(), found.begin() + written, found.end(), is_better);
    std::copy(found.begin(), found.begin() + written, best);
    return written;
}
