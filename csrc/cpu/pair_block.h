// What the driver hands to the kernels of one instruction set: one block of bank rows against a span of batch rows.
// Included by files compiled with different flags: declarations and constants only.
#pragma once

#include <stdint.h>

namespace fasthash {

constexpr int64_t kPairBankRows = 256;     // rows of a block; with the batch block its residual stays in the L2 cache
constexpr int64_t kPairBatchRows = 132;    // rows handled at a time: a multiple of every kernel's tile
constexpr int64_t kPairResidualRow = 272;  // floats; a row of 256 would put every row into the same few cache sets

enum class PairSimilar { kMasks, kIds, kDense };

// A value of each pair (i, j) at values[i * step_a + j * step_b].
struct PairValues {
  const float* values;
  int64_t step_a, step_b;
};

struct PairBlock {
  const float* a;  // [rows_a, stride_a], columns d .. width-1 are zero
  int64_t rows_a, stride_a;
  const float* b;  // [rows_b, stride_b], rows_b <= kPairBankRows, columns d .. width-1 are zero
  int64_t rows_b, stride_b;
  int64_t d, width;  // width: d rounded up to whole vectors
  PairSimilar similar;
  const int32_t* planes_a;  // [planes, plane_a]: 32 bits of every label word or class id
  const int32_t* planes_b;  // [planes, plane_b], readable for kPairBankRows entries
  int64_t planes, plane_a, plane_b;
  PairValues dense;            // similarity or target, for kDense
  PairValues weights;          // null: 1
  const float* row_weights_a;  // [rows_a] or null: 1
  const float* row_weights_b;  // [rows_b], readable for kPairBankRows entries, or null: 1
  const float* squares_a;      // [rows_a] squared lengths, for distances
  const float* squares_b;      // [rows_b], readable for kPairBankRows entries
  float scale;                 // of the inner products
  float margin;
  float* panel;     // scratch, panel_floats(width) of them from a cache line on
  float* residual;  // scratch [kPairBatchRows, kPairResidualRow]
  float* grad_a;    // [rows_a, width], added to, without the factor scale; or null
  float* grad_b;    // [rows_b, width], added to, without the factor scale; or null
};

struct PairKernels {
  int64_t vector;                          // `width` is a multiple
  int64_t (*panel_floats)(int64_t width);  // scratch for the operands as these kernels read them
  // the loss of the block's pairs; null where these kernels have none
  double (*nll)(const PairBlock& block);
  double (*cosine)(const PairBlock& block);
  double (*euclidean)(const PairBlock& block);
};

extern const PairKernels kPairScalar, kPairAvx2, kPairAvx512;
extern const PairKernels kPairAvx512Bf16, kPairAmxBf16;  // codes and residual rounded to bfloat16
extern const PairKernels kPairAmxSplit;                  // both as the sum of two bfloat16

}  // namespace fasthash
