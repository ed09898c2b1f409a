// Products of the affinity with codes, by S itself or by the features.
#pragma once

#include <memory>

#include "cpu/joint_semantics_teacher.h"

namespace fasthash {

constexpr int64_t kJointTaskRows = 128;

inline int64_t round_up(int64_t size, int64_t to) { return blocks_of(size, to) * to; }

// y = S x for x, y [m, width], width a multiple of the vector.
class JointProduct {
 public:
  virtual ~JointProduct() = default;
  virtual void operator()(const float* x, float* y, int threads) = 0;
};

// S [m, m] with rows of `stride` floats.
std::unique_ptr<JointProduct> thin_product(const float* affinity, int64_t m, int64_t stride, int64_t width,
                                           const JointKernels& kernels);

// S x = sum of weight F (F^T x) - shift 1 (1^T x) without S: two passes over the features.
std::unique_ptr<JointProduct> low_rank_product(const JointSource& source, int64_t width, const JointKernels& kernels);

}  // namespace fasthash
