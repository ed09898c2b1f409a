#include "cpu/joint_semantics_products.h"

#include <algorithm>
#include <utility>

namespace fasthash {
namespace {

class ThinProduct : public JointProduct {
 public:
  ThinProduct(const float* affinity, int64_t m, int64_t stride, int64_t width, const JointKernels& kernels)
      : rows_{affinity, m, stride, nullptr, {}}, width_(width), kernels_(kernels) {}

  void operator()(const float* x, float* y, int threads) override {
    std::vector<Lines<float>> scratch(threads);
    for (auto& lines : scratch) lines = make_lines<float>(kJointTaskRows * kJointStride);
    const int64_t m = rows_.count;
    run_tasks(blocks_of(m, kJointTaskRows), threads, [&](int64_t task, int thread) {
      const int64_t row = task * kJointTaskRows, rows = std::min(kJointTaskRows, m - row);
      std::fill(y + row * width_, y + (row + rows) * width_, 0.0f);
      for (int64_t k = 0; k < m; k += kJointBlock) {
        const int64_t depth = std::min(kJointBlock, m - k);
        rows_.copy(row, rows, k, depth, scratch[thread].get());
        kernels_.multiply(scratch[thread].get(), x + k * width_, width_, depth, y + row * width_, width_, rows);
      }
    });
  }

 private:
  JointRows rows_;
  int64_t width_;
  const JointKernels& kernels_;
};

class LowRankProduct : public JointProduct {
 public:
  LowRankProduct(const JointSource& source, int64_t width, const JointKernels& kernels)
      : source_(source),
        kernels_(kernels),
        m_(source.features()[0].count),
        width_(width),
        rank_(source.rank() - 1),
        lanes_(std::clamp<int64_t>(m_ / 4096, 1, 8)),
        inner_(make_lines<float>(lanes_ * rank_ * width)),
        columns_(width) {
    const auto& sides = source.features();
    for (size_t side = 0; side < sides.size(); ++side) {
      for (int64_t k = 0; k < sides[side].width; k += kJointBlock) {
        parts_.push_back({side, k, (side > 0 ? sides[0].width : 0) + k, std::min(kJointBlock, sides[side].width - k)});
      }
    }
  }

  void operator()(const float* x, float* y, int threads) override {
    std::vector<Lines<float>> scratch(threads);
    for (auto& lines : scratch) lines = make_lines<float>(kJointTaskRows * kJointStride);
    const auto parts = static_cast<int64_t>(parts_.size());
    run_tasks(lanes_ * parts, threads, [&](int64_t task, int thread) {
      from_rows(parts_[task % parts], task / parts, x, scratch[thread].get());
    });
    run_tasks(parts, threads, [&](int64_t task, int) { add_lanes(parts_[task]); });
    sum_columns(x);
    run_tasks(blocks_of(m_, kJointTaskRows), threads,
              [&](int64_t task, int thread) { to_rows(task * kJointTaskRows, y, scratch[thread].get()); });
  }

 private:
  struct Part {  // columns of one side's features
    size_t side;
    int64_t column, at, count;
  };

  // the lane's rows: F^T x for the part's columns
  void from_rows(const Part& part, int64_t lane, const float* x, float* block) {
    float* out = inner_.get() + (lane * rank_ + part.at) * width_;
    std::fill(out, out + part.count * width_, 0.0f);
    const int64_t span = round_up(blocks_of(m_, lanes_), kJointTaskRows), end = std::min(m_, (lane + 1) * span);
    for (int64_t row = lane * span; row < end; row += kJointTaskRows) {
      const int64_t rows = std::min(kJointTaskRows, end - row);
      source_.features()[part.side].copy(row, rows, part.column, part.count, block);
      kernels_.multiply_transposed(block, x + row * width_, width_, rows, out, width_, part.count);
    }
  }

  void add_lanes(const Part& part) {
    const float weight = source_.weight(part.side);
    for (int64_t k = part.at * width_; k < (part.at + part.count) * width_; ++k) {
      float sum = inner_[k];
      for (int64_t lane = 1; lane < lanes_; ++lane) sum += inner_[lane * rank_ * width_ + k];
      inner_[k] = weight * sum;
    }
  }

  void sum_columns(const float* x) {
    std::vector<double> sums(width_);
    for (int64_t i = 0; i < m_; ++i) {
      for (int64_t k = 0; k < width_; ++k) sums[k] += x[i * width_ + k];
    }
    for (int64_t k = 0; k < width_; ++k) columns_[k] = static_cast<float>(-source_.shift() * sums[k]);
  }

  void to_rows(int64_t row, float* y, float* block) {
    const int64_t rows = std::min(kJointTaskRows, m_ - row);
    for (int64_t i = row; i < row + rows; ++i) std::copy(columns_.begin(), columns_.end(), y + i * width_);
    for (const Part& part : parts_) {
      source_.features()[part.side].copy(row, rows, part.column, part.count, block);
      kernels_.multiply(block, inner_.get() + part.at * width_, width_, part.count, y + row * width_, width_, rows);
    }
  }

  const JointSource& source_;
  const JointKernels& kernels_;
  int64_t m_, width_, rank_;
  int64_t lanes_;  // each sums its own rows; how many follows from the sizes alone
  Lines<float> inner_;
  std::vector<float> columns_;
  std::vector<Part> parts_;
};

}  // namespace

std::unique_ptr<JointProduct> thin_product(const float* affinity, int64_t m, int64_t stride, int64_t width,
                                           const JointKernels& kernels) {
  return std::make_unique<ThinProduct>(affinity, m, stride, width, kernels);
}

std::unique_ptr<JointProduct> low_rank_product(const JointSource& source, int64_t width, const JointKernels& kernels) {
  return std::make_unique<LowRankProduct>(source, width, kernels);
}

}  // namespace fasthash
