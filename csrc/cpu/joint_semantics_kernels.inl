// The kernels of one instruction set. The including file defines FASTHASH_VECTOR (floats of a vector) and
// FASTHASH_JOINT_TABLE (the JointKernels to define). No standard C++ header may be included here: an inline function of
// one would be compiled with this file's flags and could be chosen by the linker for every other file.
#include <math.h>
#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "cpu/joint_semantics_block.h"

namespace fasthash {
namespace {

#include "cpu/float_simd.inl"
#include "cpu/gemm_tiles.inl"

typedef double Doubles __attribute__((vector_size(FASTHASH_VECTOR * 4)));
constexpr int64_t kDoubles = kVector / 2;
constexpr int kDoubleRows = 6;

// Products are added up in slices: the rounding errors of a sum grow with its length, and S and its traces are
// differences of larger numbers.
constexpr int64_t kSlice = 64;

static inline int64_t slice(int64_t k, int64_t depth) { return depth - k < kSlice ? depth - k : kSlice; }

static void multiply(const float* w, const float* x, int64_t stride, int64_t depth, float* out, int64_t width,
                     int64_t rows) {
  for (int64_t k = 0; k < depth; k += kSlice) {
    weighted_sums<kJointStride, false>(w + k, x + k * stride, stride, slice(k, depth), out, width, rows);
  }
}

static void multiply_transposed(const float* w, const float* x, int64_t stride, int64_t depth, float* out,
                                int64_t width, int64_t rows) {
  for (int64_t k = 0; k < depth; k += kSlice) {
    const float* from = w + k * kJointStride;
    weighted_sums<kJointStride, true>(from, x + k * stride, stride, slice(k, depth), out, width, rows);
  }
}

static void inner(const float* a, int64_t rows, const float* b, int64_t count, int64_t depth, float* panel,
                  float* out) {
  for (int64_t j = 0; j < count; j += kPanel) {
    pack_panel(b + j * kJointStride, kJointStride, count - j, depth, 1.0f, panel);
    for (int64_t k = 0; k < depth; k += kSlice) {
      const float* x = panel + k * kPanel;
      sum_rows<kSumRows[2], 2, kJointStride, false>(a + k, x, kPanel, slice(k, depth), out + j, kJointStride, rows);
    }
  }
}

template <int kVectors>
FASTHASH_APART static void double_tile(const double* w, int64_t stride, const double* x, int64_t depth, double* out) {
  Doubles sums[kDoubleRows][kVectors] = {};
  for (int64_t k = 0; k < depth; ++k) {
    Doubles row[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) __builtin_memcpy(&row[v], x + k * kJointDoubles + v * kDoubles, sizeof row[v]);
#pragma GCC unroll 16
    for (int i = 0; i < kDoubleRows; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[i][v] += w[i * stride + k] * row[v];
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kDoubleRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      double* p = out + i * kJointDoubles + v * kDoubles;
      Doubles before;
      __builtin_memcpy(&before, p, sizeof before);
      before += sums[i][v];
      __builtin_memcpy(p, &before, sizeof before);
    }
  }
}

static void multiply_doubles(const double* w, int64_t stride, const double* x, int64_t depth, double* out) {
  constexpr int kVectors = kMaxVectors > 3 ? 4 : 2;
  static_assert(kJointDoubles % (kVectors * kDoubles) == 0 && kJointDoubles % kDoubleRows == 0);
  for (int64_t j = 0; j < kJointDoubles; j += kVectors * kDoubles) {
    for (int64_t i = 0; i < kJointDoubles; i += kDoubleRows) {
      double_tile<kVectors>(w + i * stride, stride, x + j, depth, out + i * kJointDoubles + j);
    }
  }
}

#include "cpu/joint_semantics_small.inl"

}  // namespace

const JointKernels FASTHASH_JOINT_TABLE = {kVector, multiply, multiply_transposed, inner, multiply_doubles, small_loss};

}  // namespace fasthash
