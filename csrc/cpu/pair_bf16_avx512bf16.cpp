// vdpbf16ps: dot products of pairs in vectors.
#include <math.h>
#include <stdint.h>

#include "cpu/avx512.h"
#include "cpu/pair_block.h"

#define FASTHASH_VECTOR 16

namespace fasthash {
namespace {

// clang-format off: in this order
#include "cpu/float_simd.inl"
#include "cpu/gemm_tiles.inl"
#include "cpu/pair_epilogues.inl"
#include "cpu/pair_bf16_operands.inl"
// clang-format on

constexpr int64_t kRowStep = 8;

// kRowStep rows x kVectors of a panel, from `right` on
template <int kVectors>
FASTHASH_APART static void multiply_tile(const Left& left, const int32_t* right, int64_t pairs, float factor, float* c,
                                         int64_t stride, bool add) {
  __m512 sums[kRowStep][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kRowStep; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      sums[i][v] = add ? _mm512_loadu_ps(c + i * stride + 16 * v) : _mm512_setzero_ps();
    }
  }
  for (int64_t p = 0; p < pairs; ++p) {
    __m512bh row[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) row[v] = (__m512bh)_mm512_loadu_si512(right + p * kRightColumns + 16 * v);
#pragma GCC unroll 8
    for (int i = 0; i < kRowStep; ++i) {
      const __m512bh pair = (__m512bh)_mm512_set1_epi32(left.words[i * left.stride + p]);
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sums[i][v] = _mm512_dpbf16_ps(sums[i][v], pair, row[v]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRowStep; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) _mm512_storeu_ps(c + i * stride + 16 * v, factor * sums[i][v]);
  }
}

template <int kTerms>
static void multiply(const Left& left, const Right& right, int64_t pairs, float factor, float* c, int64_t stride,
                     int64_t rows, int64_t columns, bool add) {
  static_assert(kTerms == 1, "three products here take longer than one of float32");
  for (int64_t j = 0; j < columns; j += kRightColumns) {
    const int32_t* panel = right.words + j / kRightColumns * right.panel;
    for (int64_t i = 0; i < rows; i += kRowStep) {
      const Left strip = {left.words + i * left.stride, left.stride, left.plane};
      float* out = c + i * stride + j;
      if (columns - j >= kRightColumns) {
        multiply_tile<2>(strip, panel, pairs, factor, out, stride, add);
      } else {
        multiply_tile<1>(strip, panel, pairs, factor, out, stride, add);
      }
    }
  }
}

#include "cpu/pair_bf16.inl"

}  // namespace

extern const PairKernels kPairAvx512Bf16 = {16, Operands<1>::floats, nll_bf16<1>, nullptr, nullptr};

}  // namespace fasthash
