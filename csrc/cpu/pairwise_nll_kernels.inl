// The kernels of one instruction set. The including file defines FASTHASH_NLL_VECTOR (floats of a vector) and
// FASTHASH_NLL_TABLE (the NllKernels to define). No standard C++ header may be included here: an inline function of one
// would be compiled with this file's flags and could be chosen by the linker for every other file.
#include <math.h>
#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "cpu/pairwise_nll_block.h"

namespace fasthash {
namespace {

#include "cpu/pairwise_nll_simd.inl"

#if FASTHASH_NLL_VECTOR == 16 || defined(__aarch64__)
constexpr int kThetaRows = 12;  // x 2 vectors: 24 of 32 registers
constexpr int kMaxVectors = 4;
constexpr int kGradRows[] = {0, 14, 12, 8, 6};  // by vectors
#else
constexpr int kThetaRows = 6;
constexpr int kMaxVectors = 2;
constexpr int kGradRows[] = {0, 12, 6};
#endif
constexpr int64_t kPanel = 2 * kVector;  // bank rows side by side
// q = prod (1 + e) - 1 takes one factor of at most 2 per tile row and panel, and must stay below 2^127
constexpr int64_t kPanelsPerFlush = 96 / kThetaRows;

// A function of its own keeps its sums in registers: inlined, they compete with the constants of what surrounds it.
#define FASTHASH_NLL_APART __attribute__((noinline))

// Loss sums of one strip in float, then of the whole block in double.
struct LossSum {
  Floats linear = {}, q0 = {}, q1 = {};
  double lanes[kVector] = {};  // prod (1 + e) - 1 of every lane
  double total = 0;
  int factors = 0;

  // log of a product, kept as q = product - 1 so that small e are not lost: (1 + x)(1 + y) - 1 = x + y + xy
  FASTHASH_NLL_APART void flush() {
    float part[kVector], q[kVector], r[kVector];
    store(part, linear);
    store(q, q0);
    store(r, q1);
    for (int64_t i = 0; i < kVector; ++i) {
      const double x = q[i], y = r[i], both = x + y + x * y;
      total += part[i];
      lanes[i] += both + lanes[i] * both;
    }
    linear = q0 = q1 = Floats{};
    if (++factors == 5) take_logs();  // at most 5 * 2 * 96 factors: below 2^1023
  }

  void take_logs() {
    for (int64_t i = 0; i < kVector; ++i) {
      total += log1p(lanes[i]);
      lanes[i] = 0;
    }
    factors = 0;
  }
};

// panel[k][j] = scale * b[j][k] for kPanel bank rows; rows past the end are 0
static void pack_panel(const NllBlock& block, int64_t row, float* panel) {
  typedef float Four __attribute__((vector_size(16)));
  for (int64_t j = 0; j < kPanel; j += 4) {
    const float* rows[4];
    float scales[4];
    for (int i = 0; i < 4; ++i) {
      const bool real = row + j + i < block.rows_b;
      rows[i] = block.b + (real ? row + j + i : row) * block.stride_b;
      scales[i] = real ? block.scale : 0.0f;
    }
    const Four scale = {scales[0], scales[1], scales[2], scales[3]};
    for (int64_t k = 0; k < block.d; ++k) {
      const Four column = scale * Four{rows[0][k], rows[1][k], rows[2][k], rows[3][k]};
      __builtin_memcpy(panel + k * kPanel + j, &column, sizeof column);
    }
  }
}

// out[i][0..kPanel) = sum_k a[i][k] panel[k]
template <int kRows>
FASTHASH_NLL_APART static void theta_tile(const float* a, int64_t stride, const float* panel, int64_t d, float* out) {
  Floats sums[kRows][2] = {};
  for (int64_t k = 0; k < d; ++k) {
    const Floats left = load(panel + k * kPanel), right = load(panel + k * kPanel + kVector);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      sums[i][0] += a[i * stride + k] * left;
      sums[i][1] += a[i * stride + k] * right;
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    store(out + i * kNllResidualRow, sums[i][0]);
    store(out + i * kNllResidualRow + kVector, sums[i][1]);
  }
}

// Which of kVector pairs share a label.
template <NllLabels kLabels>
static inline Mask similar(const NllBlock& block, int64_t i, int64_t j) {
  Ints bits = {};
  for (int64_t p = 0; p < block.planes; ++p) {
    const int32_t x = block.planes_a[p * block.plane_a + i];
    const Ints y = load(block.planes_b + p * block.plane_b + j);
    bits |= kLabels == NllLabels::kIds ? x ^ y : x & y;
  }
  return kLabels == NllLabels::kIds ? is_zero(bits) : not_zero(bits);
}

// sim[i][j .. j + kVector), 0 past the end
static inline Floats similarity(const NllBlock& block, int64_t i, int64_t j) {
  const float* p = block.sim + i * block.sim_a + j * block.sim_b;
  if (block.sim_b == 1 && j + kVector <= block.rows_b) return load(p);
  float values[kVector] = {};
  for (int64_t k = 0; k < kVector && j + k < block.rows_b; ++k) values[k] = p[k * block.sim_b];
  return load(values);
}

// theta in *cell becomes the residual sigmoid(theta) - S; linear and q take the loss. With S in {0, 1}, one sign flip
// makes both one-sided: z = S ? -theta : theta, loss = max(z, 0) + log1p(e), residual = S ? -sigmoid(z) : sigmoid(z).
template <NllLabels kLabels, bool kTail, bool kResidual>
static inline void pair_vector(const NllBlock& block, int64_t i, int64_t j, float* cell, Floats& linear, Floats& q) {
  const Floats theta = load(cell);
  const Mask real = first(block.rows_b - j);
  Floats part, numerator, offset = {};
  Mask flip = {};
  Floats e = exp_of_negative(minus_abs(theta));
  const Floats inverse = reciprocal(1.0f + e);
  if constexpr (kLabels == NllLabels::kDense) {
    const Floats s = similarity(block, i, j);
    flip = less(Floats{}, theta);
    offset = select(flip, 1.0f - s, -s);  // no difference of near-equals: theta's share and the tail are apart
    part = offset * theta;
    numerator = e;
  } else {
    flip = similar<kLabels>(block, i, j);
    const Floats z = negate(flip, theta);
    part = positive_part(z);
    numerator = select(less(z, Floats{}), e, all(1.0f));
  }
  if constexpr (kResidual) store(cell, offset + negate(flip, numerator * inverse));
  if constexpr (kTail) {
    part = keep(real, part);
    e = keep(real, e);
  }
  linear += part;
  q = (q * e + e) + q;
}

template <NllLabels kLabels, bool kTail, bool kResidual>
FASTHASH_NLL_APART static void pairs_tile(const NllBlock& block, int64_t i, int rows, int64_t j, float* tile,
                                          LossSum& sum) {
  Floats linear = sum.linear, q0 = sum.q0, q1 = sum.q1;
  for (int r = 0; r < rows; ++r) {
    float* cell = tile + r * kNllResidualRow;
    pair_vector<kLabels, kTail, kResidual>(block, i + r, j, cell, linear, q0);
    pair_vector<kLabels, kTail, kResidual>(block, i + r, j + kVector, cell + kVector, linear, q1);
  }
  sum.linear = linear;
  sum.q0 = q0;
  sum.q1 = q1;
}

// theta and then the residual of kRows batch rows against the whole block
template <int kRows, NllLabels kLabels, bool kResidual>
static void strip(const NllBlock& block, int64_t i, float* residual, LossSum& sum) {
  const float* a = block.a + i * block.stride_a;
  int64_t panels = 0;
  for (int64_t j = 0; j < block.rows_b; j += kPanel) {
    theta_tile<kRows>(a, block.stride_a, block.panel + j * block.d, block.d, residual + j);
    if (j + kPanel <= block.rows_b) {
      pairs_tile<kLabels, false, kResidual>(block, i, kRows, j, residual + j, sum);
    } else {
      pairs_tile<kLabels, true, kResidual>(block, i, kRows, j, residual + j, sum);
    }
    if (++panels % kPanelsPerFlush == 0) sum.flush();
  }
  sum.flush();
}

// out[i][:] += sum_k r(i, k) x[k][:] where r(i, k) is r[i][k], or r[k][i] when transposed
template <int kRows, int kVectors, bool kTransposed>
FASTHASH_NLL_APART static void grad_tile(const float* r, const float* x, int64_t stride, int64_t depth, float* out,
                                         int64_t out_stride) {
  Floats sums[kRows][kVectors] = {};
  for (int64_t k = 0; k < depth; ++k) {
    Floats row[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) row[v] = load(x + k * stride + v * kVector);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const float weight = kTransposed ? r[k * kNllResidualRow + i] : r[i * kNllResidualRow + k];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[i][v] += weight * row[v];
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      float* p = out + i * out_stride + v * kVector;
      store(p, load(p) + sums[i][v]);
    }
  }
}

// All rows of one group of columns: whole tiles first, then what is left in halves of a tile.
template <int kRows, int kVectors, bool kTransposed>
static void grad_rows(const float* r, const float* x, int64_t stride, int64_t depth, float* out, int64_t out_stride,
                      int64_t rows) {
  int64_t i = 0;
  for (; i + kRows <= rows; i += kRows) {
    const float* from = kTransposed ? r + i : r + i * kNllResidualRow;
    grad_tile<kRows, kVectors, kTransposed>(from, x, stride, depth, out + i * out_stride, out_stride);
  }
  if constexpr (kRows > 1) {
    const float* from = kTransposed ? r + i : r + i * kNllResidualRow;
    grad_rows<kRows / 2, kVectors, kTransposed>(from, x, stride, depth, out + i * out_stride, out_stride, rows - i);
  }
}

// out [rows, width] += r x, or r^T x
template <bool kTransposed>
static void grad(const float* r, const float* x, int64_t stride, int64_t depth, float* out, int64_t width,
                 int64_t rows) {
  int64_t v = 0;
  for (; v + kMaxVectors * kVector <= width; v += kMaxVectors * kVector) {
    grad_rows<kGradRows[kMaxVectors], kMaxVectors, kTransposed>(r, x + v, stride, depth, out + v, width, rows);
  }
  const int64_t left = (width - v) / kVector;
  if constexpr (kMaxVectors > 3) {
    if (left == 3) grad_rows<kGradRows[3], 3, kTransposed>(r, x + v, stride, depth, out + v, width, rows);
    if (left == 2) grad_rows<kGradRows[2], 2, kTransposed>(r, x + v, stride, depth, out + v, width, rows);
  }
  if (left == 1) grad_rows<kGradRows[1], 1, kTransposed>(r, x + v, stride, depth, out + v, width, rows);
}

template <int kRows, NllLabels kLabels, bool kResidual>
static void strips(const NllBlock& block, int64_t first_row, int64_t rows, float* residual, LossSum& sum) {
  int64_t i = 0;
  for (; i + kRows <= rows; i += kRows) {
    strip<kRows, kLabels, kResidual>(block, first_row + i, residual + i * kNllResidualRow, sum);
  }
  if constexpr (kRows > 1) {
    strips<kRows / 2, kLabels, kResidual>(block, first_row + i, rows - i, residual + i * kNllResidualRow, sum);
  }
}

template <NllLabels kLabels, bool kResidual>
static double run_block(const NllBlock& block) {
  LossSum sum;
  for (int64_t j = 0; j < block.rows_b; j += kPanel) pack_panel(block, j, block.panel + j * block.d);
  for (int64_t i = 0; i < block.rows_a; i += kNllBatchRows) {
    const int64_t rows = block.rows_a - i < kNllBatchRows ? block.rows_a - i : kNllBatchRows;
    strips<kThetaRows, kLabels, kResidual>(block, i, rows, block.residual, sum);
    if (block.grad_a != nullptr) {
      grad<false>(block.residual, block.b, block.stride_b, block.rows_b, block.grad_a + i * block.width, block.width,
                  rows);
    }
    if (block.grad_b != nullptr) {
      grad<true>(block.residual, block.a + i * block.stride_a, block.stride_a, rows, block.grad_b, block.width,
                 block.rows_b);
    }
  }
  sum.take_logs();
  return sum.total;
}

template <NllLabels kLabels>
static double run_labels(const NllBlock& block) {
  const bool residual = block.grad_a != nullptr || block.grad_b != nullptr;
  return residual ? run_block<kLabels, true>(block) : run_block<kLabels, false>(block);
}

static double run(const NllBlock& block) {
  if (block.labels == NllLabels::kDense) return run_labels<NllLabels::kDense>(block);
  return block.labels == NllLabels::kIds ? run_labels<NllLabels::kIds>(block) : run_labels<NllLabels::kMasks>(block);
}

}  // namespace

extern const NllKernels FASTHASH_NLL_TABLE = {kVector, run};

}  // namespace fasthash
