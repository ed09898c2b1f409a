// What the drivers hand to the kernels of one instruction set. Included by files compiled with different flags:
// declarations and constants only.
#pragma once

#include <stdint.h>

namespace fasthash {

constexpr int64_t kJointBlock = 256;   // rows, columns or depth of a block: two of them stay in the L2 cache
constexpr int64_t kJointStride = 272;  // floats; rows of 256 would all fall into the same few cache sets
constexpr int64_t kJointSmall = 128;   // items up to which everything is one call on m x m matrices
constexpr int64_t kJointSmallStride = 144;
constexpr int64_t kJointDoubles = 96;  // rows and columns of a block of doubles

// Up to kJointSmall items.
struct JointSmall {
  const float* image;  // codes [m, d]
  const float* text;
  int64_t m, d, width;    // width: d rounded up to whole vectors
  const float* affinity;  // [m, kJointSmallStride]; columns from m on to the next whole vector are 0
  float eta, mu, lambda1, lambda2;
  float* scratch;     // joint_small_floats(m, width)
  float* grad_image;  // [m, d] or null
  float* grad_text;
};

static constexpr int64_t joint_small_floats(int64_t m, int64_t width) {
  return 4 * (m + 16) * kJointSmallStride + 4 * m * width + 2 * kJointSmall + 64 * width;
}

struct JointKernels {
  int64_t vector;  // floats of a vector
  // out [rows, width] += w x, or w^T x; w has rows of kJointStride floats, `depth` of its columns (rows) count
  void (*multiply)(const float* w, const float* x, int64_t stride, int64_t depth, float* out, int64_t width,
                   int64_t rows);
  void (*multiply_transposed)(const float* w, const float* x, int64_t stride, int64_t depth, float* out, int64_t width,
                              int64_t rows);
  // out[i][j] += a_i . b_j over `depth` columns; all three have rows of kJointStride floats; panel: scratch, 32 depth
  void (*inner)(const float* a, int64_t rows, const float* b, int64_t count, int64_t depth, float* panel, float* out);
  // out [kJointDoubles, kJointDoubles] += w x, w [kJointDoubles, stride], x [depth, kJointDoubles]
  void (*multiply_doubles)(const double* w, int64_t stride, const double* x, int64_t depth, double* out);
  double (*small)(const JointSmall& problem);  // the loss
};

extern const JointKernels kJointScalar, kJointAvx2, kJointAvx512;

}  // namespace fasthash
