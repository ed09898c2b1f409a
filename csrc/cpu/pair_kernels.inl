// The pair-loss kernels of one instruction set. The including file defines FASTHASH_VECTOR (floats of a vector) and
// FASTHASH_PAIR_TABLE (the PairKernels to define). No standard C++ header may be included here: an inline function of
// one would be compiled with this file's flags and could be chosen by the linker for every other file.
#include <math.h>
#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "cpu/pair_block.h"

namespace fasthash {
namespace {

// clang-format off: in this order
#include "cpu/float_simd.inl"
#include "cpu/gemm_tiles.inl"
#include "cpu/pair_epilogues.inl"
// clang-format on

// inner products and then the residual of kRows batch rows against the whole block
template <int kRows, bool kResidual, typename Epilogue>
static void strip(const PairBlock& block, int64_t i, float* residual, Epilogue& epilogue) {
  const float* a = block.a + i * block.stride_a;
  int64_t panels = 0;
  for (int64_t j = 0; j < block.rows_b; j += kPanel) {
    inner_tile<kRows, kPairResidualRow>(a, block.stride_a, block.panel + j * block.d, block.d, residual + j);
    if (j + kPanel <= block.rows_b) {
      epilogue.template tile<false, kResidual>(block, i, kRows, j, residual + j);
    } else {
      epilogue.template tile<true, kResidual>(block, i, kRows, j, residual + j);
    }
    if (++panels % kPanelsPerFlush == 0) epilogue.flush();
  }
  epilogue.flush();
}

template <int kRows, bool kResidual, typename Epilogue>
static void strips(const PairBlock& block, int64_t first_row, int64_t rows, float* residual, Epilogue& epilogue) {
  int64_t i = 0;
  for (; i + kRows <= rows; i += kRows) {
    strip<kRows, kResidual>(block, first_row + i, residual + i * kPairResidualRow, epilogue);
  }
  if constexpr (kRows > 1) {
    strips<kRows / 2, kResidual>(block, first_row + i, rows - i, residual + i * kPairResidualRow, epilogue);
  }
}

// out[i] -= (sum of row i of the residual) x[i], or of column i
template <bool kColumns>
FASTHASH_APART static void take_own_share(const PairBlock& block, int64_t rows, const float* x, int64_t stride,
                                          int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) {
    double sum = 0;
    const int64_t others = kColumns ? rows : block.rows_b;
    for (int64_t k = 0; k < others; ++k) {
      sum += kColumns ? block.residual[k * kPairResidualRow + i] : block.residual[i * kPairResidualRow + k];
    }
    const Floats share = all(static_cast<float>(sum));
    for (int64_t c = 0; c < block.width; c += kVector) {
      float* p = out + i * block.width + c;
      store(p, load(p) - share * load(x + i * stride + c));
    }
  }
}

template <typename Epilogue>
static void gradients(const PairBlock& block, int64_t i, int64_t rows) {
  const float* a = block.a + i * block.stride_a;
  if (block.grad_a != nullptr) {
    float* out = block.grad_a + i * block.width;
    weighted_sums<kPairResidualRow, false>(block.residual, block.b, block.stride_b, block.rows_b, out, block.width,
                                           rows);
    if constexpr (Epilogue::kDifferences) take_own_share<false>(block, rows, a, block.stride_a, rows, out);
  }
  if (block.grad_b != nullptr) {
    weighted_sums<kPairResidualRow, true>(block.residual, a, block.stride_a, rows, block.grad_b, block.width,
                                          block.rows_b);
    if constexpr (Epilogue::kDifferences) {
      take_own_share<true>(block, rows, block.b, block.stride_b, block.rows_b, block.grad_b);
    }
  }
}

template <typename Epilogue>
static double run(const PairBlock& block) {
  Epilogue epilogue;
  for (int64_t j = 0; j < block.rows_b; j += kPanel) {
    pack_panel(block.b + j * block.stride_b, block.stride_b, block.rows_b - j, block.d, block.scale,
               block.panel + j * block.d);
  }
  const bool residual = block.grad_a != nullptr || block.grad_b != nullptr;
  for (int64_t i = 0; i < block.rows_a; i += kPairBatchRows) {
    const int64_t rows = block.rows_a - i < kPairBatchRows ? block.rows_a - i : kPairBatchRows;
    if (residual) {
      strips<kTileRows, true>(block, i, rows, block.residual, epilogue);
      gradients<Epilogue>(block, i, rows);
    } else {
      strips<kTileRows, false>(block, i, rows, block.residual, epilogue);
    }
  }
  return epilogue.total();
}

template <PairSimilar kSimilar>
static double run_nll(const PairBlock& block) {
  const bool weighted =
      block.weights.values != nullptr || block.row_weights_a != nullptr || block.row_weights_b != nullptr;
  return weighted ? run<NllEpilogue<kSimilar, true>>(block) : run<NllEpilogue<kSimilar, false>>(block);
}

static double nll(const PairBlock& block) {
  if (block.similar == PairSimilar::kDense) return run_nll<PairSimilar::kDense>(block);
  return block.similar == PairSimilar::kIds ? run_nll<PairSimilar::kIds>(block) : run_nll<PairSimilar::kMasks>(block);
}

static double cosine(const PairBlock& block) { return run<CosineEpilogue>(block); }

static double euclidean(const PairBlock& block) {
  if (block.similar == PairSimilar::kDense) return run<EuclideanEpilogue<PairSimilar::kDense>>(block);
  if (block.similar == PairSimilar::kIds) return run<EuclideanEpilogue<PairSimilar::kIds>>(block);
  return run<EuclideanEpilogue<PairSimilar::kMasks>>(block);
}

static int64_t panel_floats(int64_t width) { return kPairBankRows * width; }

}  // namespace

extern const PairKernels FASTHASH_PAIR_TABLE = {kVector, panel_floats, nll, cosine, euclidean};

}  // namespace fasthash
