// tdpbf16ps: products of tiles of 16 rows of 64 bytes. To be called only where cpu/isa.h found AMX: the tiles must have
// been asked for from the system.
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

constexpr int64_t kRowStep = 32;

struct alignas(64) TileConfig {
  uint8_t palette, start_row, reserved[14];
  uint16_t bytes[16];  // of a row, by tile
  uint8_t rows[16];
};
static_assert(sizeof(TileConfig) == 64);

// eight tiles of 16 x 64 bytes: 16 x 16 floats, or 16 rows of 16 pairs
constexpr TileConfig kTiles = {1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

// A block of 32 x 32 in tiles 0 to 3. `right` is one panel.
template <int kTerms>
FASTHASH_APART static void multiply_tile(const Left& left, const int32_t* right, int64_t right_plane, int64_t pairs,
                                         float factor, float* c, int64_t stride, bool add) {
  const int64_t row = stride * 4, left_row = left.stride * 4, pair_row = kRightColumns * 4;
  asm volatile("" ::: "memory");  // the intrinsics of some compilers do not say that they read memory
  if (add) {
    _tile_loadd(0, c, row);
    _tile_loadd(1, c + 16, row);
    _tile_loadd(2, c + 16 * stride, row);
    _tile_loadd(3, c + 16 * stride + 16, row);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int term = 0; term < 2 * kTerms - 1; ++term) {  // hi hi, hi lo, lo hi
    const int32_t* a = left.words + (term == 2 ? left.plane : 0);
    const int32_t* b = right + (term == 1 ? right_plane : 0);
    for (int64_t p = 0; p < pairs; p += 16) {
      _tile_loadd(4, a + p, left_row);
      _tile_loadd(6, b + p * kRightColumns, pair_row);
      _tile_loadd(7, b + p * kRightColumns + 16, pair_row);
      _tile_loadd(5, a + 16 * left.stride + p, left_row);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, c, row);
  _tile_stored(1, c + 16, row);
  _tile_stored(2, c + 16 * stride, row);
  _tile_stored(3, c + 16 * stride + 16, row);
  if (factor == 1.0f) return;
  for (int64_t i = 0; i < 32; ++i) {
    float* cell = c + i * stride;
    store(cell, factor * load(cell));
    store(cell + kVector, factor * load(cell + kVector));
  }
}

// rows, columns and 2 pairs are multiples of 32
template <int kTerms>
static void multiply(const Left& left, const Right& right, int64_t pairs, float factor, float* c, int64_t stride,
                     int64_t rows, int64_t columns, bool add) {
  for (int64_t j = 0; j < columns; j += kRightColumns) {
    for (int64_t i = 0; i < rows; i += kRowStep) {
      const Left strip = {left.words + i * left.stride, left.stride, left.plane};
      multiply_tile<kTerms>(strip, right.words + j / kRightColumns * right.panel, right.plane, pairs, factor,
                            c + i * stride + j, stride, add);
    }
  }
}

#include "cpu/pair_bf16.inl"

// The tiles belong to the thread and are given back, so that nothing of them is left to save when it is switched.
template <int kTerms>
static double nll_amx(const PairBlock& block) {
  _tile_loadconfig(&kTiles);
  const double loss = nll_bf16<kTerms>(block);
  _tile_release();
  return loss;
}

}  // namespace

extern const PairKernels kPairAmxBf16 = {32, Operands<1>::floats, nll_amx<1>, nullptr, nullptr};
extern const PairKernels kPairAmxSplit = {32, Operands<2>::floats, nll_amx<2>, nullptr, nullptr};

}  // namespace fasthash
