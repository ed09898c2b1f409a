// What the driver hands to the kernels of one instruction set: one block of bank rows against a span of batch rows.
// Included by files compiled with different flags: declarations and constants only.
#pragma once

#include <stdint.h>

namespace fasthash {

constexpr int64_t kNllBankRows = 256;     // rows of a block; with the batch block its residual stays in the L2 cache
constexpr int64_t kNllBatchRows = 132;    // rows handled at a time: a multiple of every kernel's tile
constexpr int64_t kNllResidualRow = 272;  // floats; a row of 256 would put every row into the same few cache sets

enum class NllLabels { kMasks, kIds, kDense };

struct NllBlock {
  const float* a;  // [rows_a, stride_a], columns d .. width-1 are zero
  int64_t rows_a, stride_a;
  const float* b;  // [rows_b, stride_b], rows_b <= kNllBankRows, columns d .. width-1 are zero
  int64_t rows_b, stride_b;
  int64_t d, width;  // width: d rounded up to whole vectors
  NllLabels labels;
  const int32_t* planes_a;  // [planes, plane_a]: 32 bits of every label word or class id
  const int32_t* planes_b;  // [planes, plane_b], readable for kNllBankRows entries
  int64_t planes, plane_a, plane_b;
  const float* sim;  // sim[i * sim_a + j * sim_b], for kDense
  int64_t sim_a, sim_b;
  float scale;
  float* panel;     // scratch [kNllBankRows, d]
  float* residual;  // scratch [kNllBatchRows, kNllResidualRow]
  float* grad_a;    // [rows_a, width], added to, without the factor scale; or null
  float* grad_b;    // [rows_b, width], added to, without the factor scale; or null
};

struct NllKernels {
  int64_t vector;                        // floats of a vector
  double (*run)(const NllBlock& block);  // the loss of the block's pairs
};

extern const NllKernels kNllScalar, kNllAvx2, kNllAvx512;

}  // namespace fasthash
