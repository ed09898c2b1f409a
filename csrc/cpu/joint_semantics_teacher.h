// The teacher of joint semantics in blocks, shared by the drivers of the loss, the affinity and the moments.
#pragma once

#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "cpu/joint_semantics_block.h"
#include "cpu/run_on_threads.h"
#include "joint_semantics.h"

namespace fasthash {

inline int64_t blocks_of(int64_t size, int64_t block) { return (size + block - 1) / block; }

struct FreeLines {
  void operator()(void* p) const { ::operator delete[](p, std::align_val_t{64}); }
};

// Not filled.
template <typename T>
using Lines = std::unique_ptr<T[], FreeLines>;

template <typename T>
Lines<T> make_lines(int64_t size) {
  const auto bytes = sizeof(T) * static_cast<size_t>(size > 0 ? size : 1);
  return Lines<T>(static_cast<T*>(::operator new[](bytes, std::align_val_t{64})));
}

const JointKernels& joint_kernels(Isa isa);

// Rows of a matrix, each times a factor.
struct JointRows {
  const float* data;
  int64_t count, width;
  const int64_t* index;       // [count] which rows, or null
  std::vector<float> factor;  // [count] or empty: 1

  // [rows, columns] from (row, column) on into rows of kJointStride floats
  void copy(int64_t row, int64_t rows, int64_t column, int64_t columns, float* out) const;
};

// The items' features with the weight of each in S = sum of weight * rows rows^T - affine, or S itself.
class JointSource {
 public:
  JointSource(const JointTeacher& teacher, int threads);

  bool given() const { return teacher_.affinity != nullptr; }
  int64_t rank() const { return teacher_.p_image + teacher_.p_text + 1; }
  const std::vector<JointRows>& features() const { return features_; }
  float weight(size_t side) const { return weights_[side]; }
  float shift() const { return teacher_.affine ? 1.0f : 0.0f; }

  // S [m, m] with rows of `stride` floats, entries from m on to stride zero: gathered, or from the features
  void fill(float* affinity, int64_t stride, const JointKernels& kernels, int threads) const;

 private:
  const JointTeacher& teacher_;
  std::vector<JointRows> features_;
  float weights_[2];
};

// done(i, rows, j, columns, block, thread) for the blocks on and above the diagonal of sum weight * rows rows^T;
// block has rows of kJointStride floats.
using JointBlockDone = std::function<void(int64_t, int64_t, int64_t, int64_t, float*, int)>;
void products_of_rows(const std::vector<JointRows>& sides, const float* weights, const JointKernels& kernels,
                      int threads, const JointBlockDone& done);

// Traces of S^2 and, with products, of S^3 and S^4; from S [m, m] with rows of `stride` floats.
void moments_of_affinity(const float* affinity, int64_t m, int64_t stride, bool products, const JointKernels& kernels,
                         int threads, double* moments);

// All three from the features, without S.
void moments_of_features(const JointSource& source, const JointKernels& kernels, int threads, double* moments);

}  // namespace fasthash
