// Products of Q5_0 and Q8_0 weights with two or more columns, for x86-64 with AVX-512 VNNI and VBMI.
//
// ggml's own kernel for these (tinyBLAS in llamafile/sgemm.cpp) spends about seven instructions on each 32 products: it
// makes the weights' signs the activations', multiplies the two scales and sums for every pair of a row and a column. In
// a batch of 4 to 8 sequences that, and not memory, is what a step's time is. Here a tile of 16 rows is unpacked once
// for up to 8 columns, turned so that a lane holds a row, and 32 products of 16 rows with a column are 8 instructions
// and 3 for the scales.
//
// Nothing of ggml is changed: the linker sends its calls of two functions here first (`--wrap`, block_matmul.cmake),
// and what is not done here goes on to them. Sums are exact in 32-bit integers within a block of 32, then added in
// 32-bit floats, as in ggml.

#define GGML_COMMON_DECL_CPP
#include "ggml-common.h"
#include "ggml-cpu-impl.h"
#include "ggml.h"

#include <cstdint>
#include <cstring>
#include <vector>

#if !defined(__AVX512F__) || !defined(__AVX512BW__) || !defined(__AVX512VL__) || !defined(__AVX512VBMI__) || !defined(__AVX512VNNI__)
#error "block_matmul.cpp needs AVX-512 F, BW, VL, VBMI and VNNI"
#endif

namespace {

constexpr int TILE_ROWS = 16;
constexpr int TILE_COLUMNS = 8;  // 8 sums and 8 registers of weights leave room for what is between them
constexpr int GROUPS = 8;        // of four values in a block of 32
constexpr int64_t TILED_COLUMNS = 12;

static_assert(sizeof(block_q8_0) == 34 && sizeof(block_q5_0) == 22 && QK8_0 == 32 && QK5_0 == 32, "blocks of ggml changed");

// What is added to a weight so that it is an unsigned byte; 32 times its product is taken off each block's sum.
constexpr int zero_point(const block_q8_0 *) { return 128; }
constexpr int zero_point(const block_q5_0 *) { return 16; }

// In: register i has 8 dwords of row i and of row i + 4 (i < 4), of row i + 4 and of row i + 8 (i >= 4).
// Out: register d has dword d of rows 0 to 15.
inline void turn(const __m512i in[8], __m512i out[8]) {
    __m512i part[8];
    for (int half = 0; half < 8; half += 4) {
        const __m512i low01 = _mm512_unpacklo_epi32(in[half], in[half + 1]);
        const __m512i high01 = _mm512_unpackhi_epi32(in[half], in[half + 1]);
        const __m512i low23 = _mm512_unpacklo_epi32(in[half + 2], in[half + 3]);
        const __m512i high23 = _mm512_unpackhi_epi32(in[half + 2], in[half + 3]);
        part[half] = _mm512_unpacklo_epi64(low01, low23);
        part[half + 1] = _mm512_unpackhi_epi64(low01, low23);
        part[half + 2] = _mm512_unpacklo_epi64(high01, high23);
        part[half + 3] = _mm512_unpackhi_epi64(high01, high23);
    }
    for (int i = 0; i < 4; i++) {
        out[i] = _mm512_shuffle_i32x4(part[i], part[4 + i], 0x88);
        out[4 + i] = _mm512_shuffle_i32x4(part[i], part[4 + i], 0xdd);
    }
}

inline int first_row(int i) { return i < 4 ? i : i + 4; }

// A block of 16 rows, `stride` blocks apart: unsigned weights, four of each row in a register, and the rows' scales.
inline __m512 unpack(const block_q8_0 * rows, int64_t stride, __m512i weights[GROUPS]) {
    __m512i loaded[8];
    alignas(32) uint16_t scales[TILE_ROWS];
    for (int i = 0; i < 8; i++) {
        const block_q8_0 * row = rows + first_row(i) * stride;
        const __m256i upper = _mm256_loadu_si256((const __m256i *) row[4 * stride].qs);
        loaded[i] = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *) row->qs)), upper, 1);
    }
    for (int i = 0; i < TILE_ROWS; i++) {
        scales[i] = rows[i * stride].d;
    }
    turn(loaded, weights);
    const __m512i sign = _mm512_set1_epi8((char) 0x80);
    for (int i = 0; i < GROUPS; i++) {
        weights[i] = _mm512_xor_si512(weights[i], sign);
    }
    return _mm512_cvtph_ps(_mm256_load_si256((const __m256i *) scales));
}

inline __m512 unpack(const block_q5_0 * rows, int64_t stride, __m512i weights[GROUPS]) {
    // From two bytes before the block, so that its parts are whole dwords: scale, fifth bits, four of low bits. The mask
    // keeps to the 22 bytes of the block: what lies around them may not be ours.
    const __mmask32 own = 0x00fffffc;
    __m512i loaded[8], parts[8];
    for (int i = 0; i < 8; i++) {
        const char * row = (const char *) (rows + first_row(i) * stride) - 2;
        const __m256i upper = _mm256_maskz_loadu_epi8(own, row + 4 * stride * (int64_t) sizeof(block_q5_0));
        loaded[i] = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_maskz_loadu_epi8(own, row)), upper, 1);
    }
    turn(loaded, parts);
    const __m512i nibble = _mm512_set1_epi8(0x0f), fifth = _mm512_set1_epi8(0x10);
    for (int group = 0; group < GROUPS; group++) {
        // For byte i of each dword the bit 4 * group + i of its row's fifth bits, moved to bit 4.
        uint64_t from = 0;
        for (int i = 0; i < 4; i++) {
            from |= (uint64_t) ((4 * group + i - 4) & 63) << (8 * i) | (uint64_t) (32 + 4 * group + i - 4) << (32 + 8 * i);
        }
        const __m512i bits = _mm512_multishift_epi64_epi8(_mm512_set1_epi64((int64_t) from), parts[1]);
        const __m512i both = parts[2 + group % 4];
        const __m512i low = _mm512_and_si512(group < 4 ? both : _mm512_srli_epi16(both, 4), nibble);
        weights[group] = _mm512_ternarylogic_epi32(low, bits, fifth, 0xf8);  // low | (bits & fifth)
    }
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(parts[0], 16)));
}

// Of each block of `columns` columns, block after block: the scale, and what its sum starts from.
struct Columns {
    std::vector<float> scale;
    std::vector<int32_t> start;

    void read(const block_q8_0 * blocks, int64_t stride, int columns, int64_t count, int zero) {
        if ((int64_t) scale.size() < columns * count) {
            scale.resize(columns * count);
            start.resize(columns * count);
        }
        for (int64_t l = 0; l < count; l++) {
            for (int j = 0; j < columns; j++) {
                const block_q8_0 & block = blocks[j * stride + l];
                int32_t sum = 0;
                for (int i = 0; i < QK8_0; i++) {
                    sum += block.qs[i];
                }
                scale[l * columns + j] = _cvtsh_ss(block.d);
                start[l * columns + j] = -zero * sum;
            }
        }
    }
};

template <typename Block, int N>
void multiply_tile(const Block * rows, int64_t row_stride, const block_q8_0 * columns, int64_t column_stride,
                   const Columns & of, int64_t blocks, float * out, int64_t out_stride) {
    __m512 sums[N];
    for (int j = 0; j < N; j++) {
        sums[j] = _mm512_setzero_ps();
    }
    for (int64_t l = 0; l < blocks; l++) {
        // 16 rows at a stride are more streams than the processor foresees: the next tile's bytes are asked for in order.
        const char * next = (const char *) (rows + TILE_ROWS * row_stride) + l * TILE_ROWS * (int64_t) sizeof(Block);
        for (int offset = 0; offset < TILE_ROWS * (int) sizeof(Block); offset += 64) {
            _mm_prefetch(next + offset, _MM_HINT_T0);
        }
        __m512i weights[GROUPS];
        const __m512 row_scales = unpack(rows + l, row_stride, weights);
        for (int j = 0; j < N; j++) {
            const int8_t * values = columns[j * column_stride + l].qs;
            __m512i sum = _mm512_set1_epi32(of.start[l * N + j]);
            for (int group = 0; group < GROUPS; group++) {
                int32_t four;
                memcpy(&four, values + 4 * group, 4);
                sum = _mm512_dpbusd_epi32(sum, weights[group], _mm512_set1_epi32(four));
            }
            const __m512 scales = _mm512_mul_ps(row_scales, _mm512_set1_ps(of.scale[l * N + j]));
            sums[j] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scales, sums[j]);
        }
    }
    for (int j = 0; j < N; j++) {
        _mm512_storeu_ps(out + j * out_stride, sums[j]);
    }
}

template <typename Block, int N>
void multiply_columns(const ggml_compute_params * params, int64_t tiles, int64_t blocks, const Block * rows,
                      int64_t row_stride, const block_q8_0 * columns, int64_t column_stride, float * out, int64_t out_stride) {
    static thread_local Columns of;
    of.read(columns, column_stride, N, blocks, zero_point(rows));
    const int64_t share = (tiles + params->nth - 1) / params->nth;
    const int64_t begin = share * params->ith;
    const int64_t end = begin + share < tiles ? begin + share : tiles;
    for (int64_t i = begin; i < end; i++) {
        multiply_tile<Block, N>(rows + TILE_ROWS * i * row_stride, row_stride, columns, column_stride, of, blocks,
                                out + TILE_ROWS * i, out_stride);
    }
}

template <typename Block>
void multiply(const ggml_compute_params * params, int64_t tiles, int64_t count, int64_t blocks, const Block * rows,
              int64_t row_stride, const block_q8_0 * columns, int64_t column_stride, float * out, int64_t out_stride) {
    while (count > 0) {
        // 9 to 15 columns in two halves: a tile costs as much to unpack for one column as for eight.
        const int64_t now = count >= 2 * TILE_COLUMNS || count == TILE_COLUMNS ? TILE_COLUMNS
                          : count > TILE_COLUMNS ? (count + 1) / 2 : count;
        switch (now) {
#define CASE(N) case N: multiply_columns<Block, N>(params, tiles, blocks, rows, row_stride, columns, column_stride, out, out_stride); break
            CASE(1); CASE(2); CASE(3); CASE(4); CASE(5); CASE(6); CASE(7); CASE(8);
#undef CASE
        }
        columns += now * column_stride;
        out += now * out_stride;
        count -= now;
    }
}

}  // namespace

extern "C" {

bool __real_llamafile_sgemm(const ggml_compute_params *, int64_t, int64_t, int64_t, const void *, int64_t, const void *,
                            int64_t, void *, int64_t, int, int, int);
bool __real_ggml_compute_forward_mul_mat_tiled(const ggml_compute_params *, ggml_tensor *);

// ggml's arguments: m rows, n columns, k blocks; strides in blocks (lda, ldb) and in values (ldc).
bool __wrap_llamafile_sgemm(const ggml_compute_params * params, int64_t m, int64_t n, int64_t k, const void * A,
                            int64_t lda, const void * B, int64_t ldb, void * C, int64_t ldc, int Atype, int Btype, int Ctype) {
    if (n >= 2 && m % TILE_ROWS == 0 && Btype == GGML_TYPE_Q8_0 && Ctype == GGML_TYPE_F32) {
        const int64_t tiles = m / TILE_ROWS;
        if (Atype == GGML_TYPE_Q8_0) {
            multiply(params, tiles, n, k, (const block_q8_0 *) A, lda, (const block_q8_0 *) B, ldb, (float *) C, ldc);
            return true;
        }
        if (Atype == GGML_TYPE_Q5_0) {
            multiply(params, tiles, n, k, (const block_q5_0 *) A, lda, (const block_q8_0 *) B, ldb, (float *) C, ldc);
            return true;
        }
    }
    return __real_llamafile_sgemm(params, m, n, k, A, lda, B, ldb, C, ldc, Atype, Btype, Ctype);
}

// ggml takes its tiled product of K-quants from 8 columns on, where it computes as many as for 16. A plain one is faster
// with 8 (on Zen 4, one thread, half of a 0.5B's ffn_down in Q6_K: 10 ms instead of 24), and slower from about 12 on.
bool __wrap_ggml_compute_forward_mul_mat_tiled(const ggml_compute_params * params, ggml_tensor * out) {
    return out->src[1]->ne[1] >= TILED_COLUMNS && __real_ggml_compute_forward_mul_mat_tiled(params, out);
}

}
