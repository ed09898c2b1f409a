#include "cpu/joint_semantics_teacher.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>

namespace fasthash {
namespace {

// Blocks of a few items are smaller, so that there are enough for the threads and the mirrored half is left out.
int64_t square_block(int64_t m) { return m <= 2 * kJointBlock ? 64 : kJointBlock; }

std::vector<float> inverse_lengths(const JointRows& rows, int threads) {
  std::vector<float> found(rows.count);
  run_tasks(blocks_of(rows.count, 64), threads, [&](int64_t task, int) {
    for (int64_t i = task * 64; i < std::min((task + 1) * 64, rows.count); ++i) {
      const float* row = rows.data + (rows.index ? rows.index[i] : i) * rows.width;
      double sums[8] = {};
      int64_t k = 0;
      for (; k + 8 <= rows.width; k += 8) {
        for (int lane = 0; lane < 8; ++lane) sums[lane] += static_cast<double>(row[k + lane]) * row[k + lane];
      }
      for (; k < rows.width; ++k) sums[0] += static_cast<double>(row[k]) * row[k];
      double squares = 0;
      for (const double sum : sums) squares += sum;
      const double length = std::sqrt(squares);
      found[i] = static_cast<float>(1.0 / (length < 1e-12 ? 1e-12 : length));
    }
  });
  return found;
}

void check_index(const JointTeacher& t) {
  for (int64_t i = 0; t.index != nullptr && i < t.m; ++i) {
    if (t.index[i] < 0 || t.index[i] >= t.n) {
      throw std::invalid_argument("joint_semantics_loss: index must be rows of the teacher, 0 to " +
                                  std::to_string(t.n - 1) + ", got " + std::to_string(t.index[i]));
    }
  }
}

}  // namespace

const JointKernels& joint_kernels(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return kJointAvx512;
  if (isa == Isa::kAvx2) return kJointAvx2;
#endif
  (void)isa;
  return kJointScalar;
}

void JointRows::copy(int64_t row, int64_t rows, int64_t column, int64_t columns, float* out) const {
  for (int64_t i = 0; i < rows; ++i, out += kJointStride) {
    const float* from = data + (index != nullptr ? index[row + i] : row + i) * width + column;
    if (factor.empty()) {
      std::memcpy(out, from, sizeof(float) * columns);
      continue;
    }
    const float f = factor[row + i];
    for (int64_t k = 0; k < columns; ++k) out[k] = f * from[k];
  }
}

JointSource::JointSource(const JointTeacher& teacher, int threads) : teacher_(teacher) {
  check_index(teacher);
  const float scale = teacher.affine ? 2.0f : 1.0f;
  weights_[0] = scale * teacher.beta;
  weights_[1] = scale * (1.0f - teacher.beta);
  if (given()) return;
  for (const auto& [data, width] : {std::pair{teacher.image, teacher.p_image}, {teacher.text, teacher.p_text}}) {
    features_.push_back(JointRows{data, teacher.m, width, teacher.index, {}});
    if (!teacher.unit) features_.back().factor = inverse_lengths(features_.back(), threads);
  }
}

void products_of_rows(const std::vector<JointRows>& sides, const float* weights, const JointKernels& kernels,
                      int threads, const JointBlockDone& done) {
  const int64_t m = sides.front().count, size = square_block(m), blocks = blocks_of(m, size);
  std::vector<std::pair<int64_t, int64_t>> tasks;
  for (int64_t i = 0; i < blocks; ++i) {
    for (int64_t j = i; j < blocks; ++j) tasks.emplace_back(i * size, j * size);
  }
  const int64_t panel = 32 * kJointBlock, block = size * kJointStride;
  std::vector<Lines<float>> scratch(threads);
  for (auto& lines : scratch) lines = make_lines<float>(3 * block + panel);
  run_tasks(static_cast<int64_t>(tasks.size()), threads, [&](int64_t task, int thread) {
    const auto [i, j] = tasks[task];
    const int64_t rows = std::min(size, m - i), columns = std::min(size, m - j);
    float *out = scratch[thread].get(), *a = out + block, *b = a + block;
    std::fill(out, out + rows * kJointStride, 0.0f);
    for (size_t side = 0; side < sides.size(); ++side) {
      for (int64_t k = 0; k < sides[side].width; k += kJointBlock) {
        const int64_t depth = std::min(kJointBlock, sides[side].width - k);
        sides[side].copy(i, rows, k, depth, a);
        sides[side].copy(j, columns, k, depth, b);
        if (weights[side] != 1.0f) {
          for (float* p = a; p < a + rows * kJointStride; p += kJointStride) {
            for (int64_t at = 0; at < depth; ++at) p[at] *= weights[side];
          }
        }
        kernels.inner(a, rows, b, columns, depth, b + block, out);
      }
    }
    done(i, rows, j, columns, out, thread);
  });
}

void JointSource::fill(float* affinity, int64_t stride, const JointKernels& kernels, int threads) const {
  const int64_t m = teacher_.m, n = teacher_.n;
  if (given()) {
    run_tasks(blocks_of(m, 64), m > 2 * kJointBlock ? threads : 1, [&](int64_t task, int) {
      for (int64_t i = task * 64; i < std::min((task + 1) * 64, m); ++i) {
        const float* from = teacher_.affinity + (teacher_.index ? teacher_.index[i] : i) * n;
        float* to = affinity + i * stride;
        if (teacher_.index == nullptr) {
          std::memcpy(to, from, sizeof(float) * m);
        } else {
          for (int64_t j = 0; j < m; ++j) to[j] = from[teacher_.index[j]];
        }
        std::fill(to + m, to + stride, 0.0f);
      }
    });
    return;
  }
  const float minus = shift();
  products_of_rows(features_, weights_, kernels, threads,
                   [&](int64_t i, int64_t rows, int64_t j, int64_t columns, const float* block, int) {
                     for (int64_t r = 0; r < rows; ++r) {
                       for (int64_t c = 0; c < columns; ++c) {
                         const float value = block[r * kJointStride + c] - minus;
                         affinity[(i + r) * stride + j + c] = value;
                         affinity[(j + c) * stride + i + r] = value;
                       }
                     }
                   });
  for (int64_t i = 0; i < m; ++i) std::fill(affinity + i * stride + m, affinity + (i + 1) * stride, 0.0f);
}

}  // namespace fasthash
