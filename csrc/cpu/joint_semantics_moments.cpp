// Traces of the first powers of S, in double: they are constants of the teacher, and what is left of the loss after
// the codes' own terms may be small beside them.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/joint_semantics_teacher.h"

namespace fasthash {
namespace {

// Sums of each task, added in their order.
struct TaskSums {
  double values[3] = {};
};

void add_tasks(const std::vector<TaskSums>& tasks, double* moments) {
  std::fill(moments, moments + 3, 0.0);
  for (const TaskSums& task : tasks) {
    for (int k = 0; k < 3; ++k) moments[k] += task.values[k];
  }
}

void sum_squares(const float* affinity, int64_t m, int64_t stride, int threads, double* moments) {
  std::vector<TaskSums> sums(blocks_of(m, 64));
  run_tasks(static_cast<int64_t>(sums.size()), threads, [&](int64_t task, int) {
    for (int64_t i = task * 64; i < std::min((task + 1) * 64, m); ++i) {
      double lanes[8] = {};
      for (int64_t j = 0; j < m; ++j) {
        lanes[j % 8] += static_cast<double>(affinity[i * stride + j]) * affinity[i * stride + j];
      }
      for (const double lane : lanes) sums[task].values[0] += lane;
    }
  });
  add_tasks(sums, moments);
}

// K [size, size] = G^T G for G = [sqrt(weight) rows of each side, 1], padded with zeros.
class Gram {
 public:
  Gram(const JointSource& source, const JointKernels& kernels, int threads)
      : source_(source),
        kernels_(kernels),
        size_(blocks_of(source.rank(), kJointDoubles) * kJointDoubles),
        matrix_(make_lines<double>(size_ * size_)) {
    std::fill(matrix_.get(), matrix_.get() + size_ * size_, 0.0);
    const auto& sides = source.features();
    for (size_t side = 0; side < sides.size(); ++side) {
      for (int64_t k = 0; k < sides[side].width; k += kJointBlock) {
        parts_.push_back({side, k, (side > 0 ? sides[0].width : 0) + k, std::min(kJointBlock, sides[side].width - k)});
      }
    }
    fill(threads);
  }

  int64_t size() const { return size_; }
  const double* data() const { return matrix_.get(); }

 private:
  struct Part {  // some columns of G
    size_t side;
    int64_t column, at, count;
  };

  double root(const Part& part) const { return std::sqrt(static_cast<double>(source_.weight(part.side))); }

  void fill(int threads) {
    std::vector<std::pair<size_t, size_t>> tasks;
    for (size_t i = 0; i < parts_.size(); ++i) {
      for (size_t j = i; j < parts_.size(); ++j) tasks.emplace_back(i, j);
    }
    const int64_t block = kJointBlock * kJointStride;
    std::vector<Lines<float>> scratch(threads);
    std::vector<Lines<double>> sums(threads);
    for (auto& lines : scratch) lines = make_lines<float>(3 * block);
    for (auto& lines : sums) lines = make_lines<double>(block);
    run_tasks(static_cast<int64_t>(tasks.size()), threads, [&](int64_t task, int thread) {
      const auto [i, j] = tasks[task];
      pair(parts_[i], parts_[j], scratch[thread].get(), sums[thread].get());
      if (i == j) column_sums(parts_[i], sums[thread].get());
    });
    const int64_t last = source_.rank() - 1;
    matrix_[last * size_ + last] = static_cast<double>(source_.features()[0].count);
  }

  void pair(const Part& x, const Part& y, float* scratch, double* sum) {
    const auto& sides = source_.features();
    const int64_t m = sides[0].count, block = kJointBlock * kJointStride;
    float *a = scratch, *b = a + block, *out = b + block;
    const int64_t cells = x.count * kJointBlock;
    std::fill(sum, sum + cells, 0.0);
    std::fill(b, b + block, 0.0f);
    for (int64_t row = 0; row < m; row += kJointBlock) {
      const int64_t rows = std::min(kJointBlock, m - row);
      sides[x.side].copy(row, rows, x.column, x.count, a);
      sides[y.side].copy(row, rows, y.column, y.count, b);
      std::fill(out, out + cells, 0.0f);
      kernels_.multiply_transposed(a, b, kJointStride, rows, out, kJointBlock, x.count);
      for (int64_t k = 0; k < cells; ++k) sum[k] += out[k];
    }
    const double factor = root(x) * root(y);
    for (int64_t i = 0; i < x.count; ++i) {
      for (int64_t j = 0; j < y.count; ++j) set(x.at + i, y.at + j, factor * sum[i * kJointBlock + j]);
    }
  }

  void column_sums(const Part& part, double* sum) {
    const JointRows& side = source_.features()[part.side];
    std::fill(sum, sum + part.count, 0.0);
    for (int64_t row = 0; row < side.count; ++row) {
      const float* from = side.data + (side.index ? side.index[row] : row) * side.width + part.column;
      const float factor = side.factor.empty() ? 1.0f : side.factor[row];
      for (int64_t k = 0; k < part.count; ++k) sum[k] += factor * from[k];
    }
    for (int64_t k = 0; k < part.count; ++k) set(part.at + k, source_.rank() - 1, root(part) * sum[k]);
  }

  void set(int64_t i, int64_t j, double value) { matrix_[i * size_ + j] = matrix_[j * size_ + i] = value; }

  const JointSource& source_;
  const JointKernels& kernels_;
  int64_t size_;
  Lines<double> matrix_;
  std::vector<Part> parts_;
};

// From one block of K and M = K D K, D = diag(1, .., 1, -shift): the traces of (D K)^2, (D K)^3, (D K)^4.
TaskSums block_sums(const Gram& gram, int64_t i, int64_t j, int64_t last, double shift, const double* square) {
  TaskSums sums;
  const double* k = gram.data();
  for (int64_t r = 0; r < kJointDoubles; ++r) {
    for (int64_t c = 0; c < kJointDoubles; ++c) {
      const double sign = (i + r == last ? -shift : 1.0) * (j + c == last ? -shift : 1.0);
      const double value = k[(i + r) * gram.size() + j + c];
      const double through_last = k[(i + r) * gram.size() + last] * k[last * gram.size() + j + c];
      const double second = square[r * kJointDoubles + c] - (1 + shift) * through_last;
      sums.values[0] += sign * value * value;
      sums.values[1] += sign * value * second;
      sums.values[2] += sign * second * second;
    }
  }
  for (double& value : sums.values) value *= i == j ? 1 : 2;
  return sums;
}

}  // namespace

void moments_of_affinity(const float* affinity, int64_t m, int64_t stride, bool products, const JointKernels& kernels,
                         int threads, double* moments) {
  if (!products) return sum_squares(affinity, m, stride, threads, moments);
  // S is symmetric: S S = S S^T. Columns from m to stride are zero.
  const std::vector<JointRows> rows = {JointRows{affinity, m, stride, nullptr, {}}};
  const float weight = 1;
  const int64_t size = 64, across = blocks_of(m, size);  // no block of products is smaller
  std::vector<TaskSums> sums(across * across);
  products_of_rows(rows, &weight, kernels, threads,
                   [&](int64_t i, int64_t count, int64_t j, int64_t columns, const float* block, int) {
                     TaskSums& task = sums[i / size * across + j / size];
                     for (int64_t r = 0; r < count; ++r) {
                       double row[3] = {};
                       for (int64_t c = 0; c < columns; ++c) {
                         const double s = affinity[(i + r) * stride + j + c], q = block[r * kJointStride + c];
                         row[0] += s * s;
                         row[1] += s * q;
                         row[2] += q * q;
                       }
                       for (int k = 0; k < 3; ++k) task.values[k] += i == j ? row[k] : 2 * row[k];
                     }
                   });
  add_tasks(sums, moments);
}

void moments_of_features(const JointSource& source, const JointKernels& kernels, int threads, double* moments) {
  const Gram gram(source, kernels, threads);
  const int64_t blocks = gram.size() / kJointDoubles, depth = kJointDoubles, cells = kJointDoubles * kJointDoubles;
  std::vector<std::pair<int64_t, int64_t>> tasks;
  for (int64_t i = 0; i < blocks; ++i) {
    for (int64_t j = i; j < blocks; ++j) tasks.emplace_back(i * kJointDoubles, j * kJointDoubles);
  }
  std::vector<TaskSums> sums(tasks.size());
  std::vector<Lines<double>> scratch(threads);
  for (auto& lines : scratch) lines = make_lines<double>(2 * cells);
  run_tasks(static_cast<int64_t>(tasks.size()), threads, [&](int64_t task, int thread) {
    const auto [i, j] = tasks[task];
    double *square = scratch[thread].get(), *x = square + cells;
    std::fill(square, square + cells, 0.0);
    for (int64_t k = 0; k < gram.size(); k += depth) {
      for (int64_t r = 0; r < depth; ++r) {
        std::memcpy(x + r * kJointDoubles, gram.data() + (k + r) * gram.size() + j, sizeof(double) * kJointDoubles);
      }
      kernels.multiply_doubles(gram.data() + i * gram.size() + k, gram.size(), x, depth, square);
    }
    sums[task] = block_sums(gram, i, j, source.rank() - 1, source.shift(), square);
  });
  add_tasks(sums, moments);
}

}  // namespace fasthash
