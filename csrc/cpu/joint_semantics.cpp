// The loss and its gradients: chooses the form by size and cuts it into tasks whose results do not depend on threads.
#include "joint_semantics.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/joint_semantics_products.h"

namespace fasthash {
namespace {

// Loss and gradients from products of S with x = [u, v], the normalised codes.
class Run {
 public:
  Run(const JointTeacher& teacher, const JointCodes& codes, const JointKernels& kernels, int threads)
      : teacher_(teacher),
        codes_(codes),
        kernels_(kernels),
        threads_(threads),
        m_(teacher.m),
        side_(round_up(codes.d, kernels.vector)),
        width_(2 * side_),
        source_(teacher, threads) {}

  double operator()() {
    normalise();
    auto product = choose();
    auto y = make_lines<float>(m_ * width_);
    (*product)(x_.get(), y.get(), threads_);
    Lines<float> z;
    if (codes_.eta != 0) {
      z = make_lines<float>(m_ * width_);
      (*product)(y.get(), z.get(), threads_);
    }
    products_of_codes();
    const double traces = finish(y.get(), z.get());
    const int64_t w = side_;
    double image = 0, cross = 0, text = 0;
    for (int64_t i = 0; i < w; ++i) {
      for (int64_t j = 0; j < w; ++j) {
        const double u = gram_[i * width_ + j], v = gram_[(w + i) * width_ + w + j];
        image += u * u;
        cross += u * v;
        text += v * v;
      }
    }
    const double first = 1 - codes_.eta, second = codes_.eta / static_cast<double>(m_);
    const double target =
        codes_.mu * codes_.mu *
        (first * first * moments_[0] + 2 * first * second * moments_[1] + second * second * moments_[2]);
    const double sum = codes_.lambda1 * image + cross + codes_.lambda2 * text - traces +
                       (1 + codes_.lambda1 + codes_.lambda2) * target;
    return sum / (static_cast<double>(m_) * static_cast<double>(m_));
  }

 private:
  void normalise() {
    x_ = make_lines<float>(m_ * width_);
    factor_.resize(2 * m_);
    run_tasks(blocks_of(m_, 1024), threads_, [&](int64_t task, int) {
      for (int64_t i = task * 1024; i < std::min((task + 1) * 1024, m_); ++i) {
        for (int half = 0; half < 2; ++half) {
          const float* from = (half ? codes_.text : codes_.image) + i * codes_.d;
          float* to = x_.get() + i * width_ + half * side_;
          double squares = 0;
          for (int64_t k = 0; k < codes_.d; ++k) squares += static_cast<double>(from[k]) * from[k];
          const double length = std::sqrt(squares);
          const auto factor = length < 1e-12 ? 0.0f : static_cast<float>(1.0 / length);  // too short for a direction
          for (int64_t k = 0; k < codes_.d; ++k) to[k] = factor * from[k];
          std::fill(to + codes_.d, to + side_, 0.0f);
          factor_[half * m_ + i] = factor;
        }
      }
    });
  }

  // The form with the fewest operations; S is made only where it is no larger than the features.
  std::unique_ptr<JointProduct> choose() {
    const bool known = codes_.moments != nullptr;
    if (known) std::copy(codes_.moments, codes_.moments + 3, moments_);
    const int64_t rank = source_.rank();
    const bool dense = m_ <= rank && (!known || m_ * (rank + 8 * codes_.d) < 16 * rank * codes_.d);
    if (!source_.given() && !dense) {
      if (!known) moments_of_features(source_, kernels_, threads_, moments_);
      return low_rank_product(source_, width_, kernels_);
    }
    const float* affinity = teacher_.affinity;
    int64_t stride = m_;
    if (!source_.given() || teacher_.index != nullptr) {
      stride = round_up(m_, 16);
      affinity_ = make_lines<float>(m_ * stride);
      source_.fill(affinity_.get(), stride, kernels_, threads_);
      affinity = affinity_.get();
    }
    if (!known) moments_of_affinity(affinity, m_, stride, codes_.eta != 0, kernels_, threads_, moments_);
    return thin_product(affinity, m_, stride, width_, kernels_);
  }

  // gram_ = x^T x: in float over a block, in double over the blocks of a lane and over the lanes
  void products_of_codes() {
    const int64_t lanes = std::clamp<int64_t>(m_ / 2048, 1, 16), cells = width_ * width_;
    const int64_t span = round_up(blocks_of(m_, lanes), kJointBlock);
    std::vector<double> sums(lanes * cells);
    std::vector<Lines<float>> scratch(threads_);
    for (auto& lines : scratch) lines = make_lines<float>(kJointBlock * (kJointStride + width_));
    run_tasks(lanes, threads_, [&](int64_t lane, int thread) {
      float *w = scratch[thread].get(), *out = w + kJointBlock * kJointStride;
      const JointRows codes = {x_.get(), m_, width_, nullptr, {}};
      for (int64_t row = lane * span; row < std::min(m_, (lane + 1) * span); row += kJointBlock) {
        const int64_t rows = std::min(kJointBlock, m_ - row);
        for (int64_t column = 0; column < width_; column += kJointBlock) {
          const int64_t count = std::min(kJointBlock, width_ - column);
          codes.copy(row, rows, column, count, w);
          std::fill(out, out + count * width_, 0.0f);
          kernels_.multiply_transposed(w, x_.get() + row * width_, width_, rows, out, width_, count);
          double* sum = sums.data() + lane * cells + column * width_;
          for (int64_t k = 0; k < count * width_; ++k) sum[k] += out[k];
        }
      }
    });
    for (int64_t lane = 1; lane < lanes; ++lane) {
      for (int64_t k = 0; k < cells; ++k) sums[k] += sums[lane * cells + k];
    }
    sums.resize(cells);
    gram_ = std::move(sums);
  }

  // y becomes T x and then the gradients; returns what the traces of u^T T u, .. take from the sum of squares
  double finish(float* y, const float* z) {
    const int64_t w = side_;
    const double mean = 1.0 / (static_cast<double>(m_) * static_cast<double>(m_));
    auto weights = make_lines<float>(2 * w * w);  // of the codes in their own gradients
    for (int64_t i = 0; i < w; ++i) {
      for (int64_t j = 0; j < w; ++j) {
        const double u = gram_[i * width_ + j], v = gram_[(w + i) * width_ + w + j];
        weights[i * w + j] = static_cast<float>((4 * codes_.lambda1 * u + 2 * v) * mean);
        weights[(w + i) * w + j] = static_cast<float>((4 * codes_.lambda2 * v + 2 * u) * mean);
      }
    }
    const int64_t tasks = blocks_of(m_, kJointTaskRows);
    std::vector<double> traces(tasks);
    std::vector<Lines<float>> scratch(threads_);
    for (auto& lines : scratch) lines = make_lines<float>(kJointTaskRows * (kJointStride + w));
    run_tasks(tasks, threads_, [&](int64_t task, int thread) {
      const int64_t row = task * kJointTaskRows, rows = std::min(kJointTaskRows, m_ - row);
      traces[task] = targets(row, rows, y, z);
      const float* u = weights.get();
      if (codes_.grad_image) gradients(0, row, rows, y, u, codes_.lambda1, scratch[thread].get(), codes_.grad_image);
      if (codes_.grad_text) {
        gradients(1, row, rows, y, u + w * w, codes_.lambda2, scratch[thread].get(), codes_.grad_text);
      }
    });
    double sum = 0;
    for (const double trace : traces) sum += trace;
    return sum;
  }

  double targets(int64_t row, int64_t rows, float* y, const float* z) const {
    const auto first = static_cast<float>(codes_.mu * (1 - codes_.eta));
    const auto second = static_cast<float>(codes_.mu * codes_.eta / static_cast<double>(m_));
    double image = 0, cross = 0, text = 0;
    for (int64_t i = row; i < row + rows; ++i) {
      float* t = y + i * width_;
      const float *u = x_.get() + i * width_, *v = u + side_;
      for (int64_t k = 0; k < width_; ++k) t[k] *= first;
      for (int64_t k = 0; z != nullptr && k < width_; ++k) t[k] += second * z[i * width_ + k];
      for (int64_t k = 0; k < side_; ++k) {
        image += static_cast<double>(u[k]) * t[k];
        cross += static_cast<double>(u[k]) * t[side_ + k];
        text += static_cast<double>(v[k]) * t[side_ + k];
      }
    }
    return 2 * (codes_.lambda1 * image + cross + codes_.lambda2 * text);
  }

  void gradients(int half, int64_t row, int64_t rows, const float* targets, const float* weights, double lambda,
                 float* scratch, float* grad) const {
    float *block = scratch, *out = scratch + kJointTaskRows * kJointStride;
    const JointRows codes = {x_.get(), m_, width_, nullptr, {}};
    std::fill(out, out + rows * side_, 0.0f);
    for (int64_t k = 0; k < side_; k += kJointBlock) {
      const int64_t depth = std::min(kJointBlock, side_ - k);
      codes.copy(row, rows, half * side_ + k, depth, block);
      kernels_.multiply(block, weights + k * side_, side_, depth, out, side_, rows);
    }
    const double mean = 1.0 / (static_cast<double>(m_) * static_cast<double>(m_));
    const auto own = static_cast<float>(4 * lambda * mean), other = static_cast<float>(2 * mean);
    for (int64_t i = 0; i < rows; ++i) {
      const float* unit = x_.get() + (row + i) * width_ + half * side_;
      const float* t = targets + (row + i) * width_;
      float* g = out + i * side_;
      double along = 0;
      for (int64_t k = 0; k < codes_.d; ++k) {
        g[k] -= own * t[half * side_ + k] + other * t[(1 - half) * side_ + k];
        along += static_cast<double>(g[k]) * unit[k];
      }
      const float inverse = factor_[half * m_ + row + i], back = static_cast<float>(along);
      for (int64_t k = 0; k < codes_.d; ++k) grad[(row + i) * codes_.d + k] = inverse * (g[k] - back * unit[k]);
    }
  }

  const JointTeacher& teacher_;
  const JointCodes& codes_;
  const JointKernels& kernels_;
  int threads_;
  int64_t m_, side_, width_;  // width of one code and of both, in whole vectors
  JointSource source_;
  double moments_[3] = {};
  Lines<float> affinity_, x_;  // x_: [m, width]
  std::vector<float> factor_;  // [2, m]: 1 / length of a code, 0 where it has no direction
  std::vector<double> gram_;   // [width, width]
};

double small(const JointTeacher& teacher, const JointCodes& codes, const JointKernels& kernels, int threads) {
  const int64_t m = teacher.m, width = round_up(codes.d, kernels.vector);
  const JointSource source(teacher, threads);
  auto memory = make_lines<float>(m * kJointSmallStride + joint_small_floats(m, width));
  source.fill(memory.get(), kJointSmallStride, kernels, threads);
  JointSmall problem{};
  problem.image = codes.image;
  problem.text = codes.text;
  problem.m = m;
  problem.d = codes.d;
  problem.width = width;
  problem.affinity = memory.get();
  problem.eta = static_cast<float>(codes.eta);
  problem.mu = static_cast<float>(codes.mu);
  problem.lambda1 = static_cast<float>(codes.lambda1);
  problem.lambda2 = static_cast<float>(codes.lambda2);
  problem.scratch = memory.get() + m * kJointSmallStride;
  problem.grad_image = codes.grad_image;
  problem.grad_text = codes.grad_text;
  return kernels.small(problem);
}

}  // namespace

double joint_semantics_loss_cpu(const JointTeacher& teacher, const JointCodes& codes, Isa isa, int threads) {
  const JointKernels& kernels = joint_kernels(isa);
  if (teacher.m <= kJointSmall) return small(teacher, codes, kernels, threads);
  return Run(teacher, codes, kernels, threads)();
}

void joint_semantics_affinity_cpu(const JointTeacher& teacher, double eta, double mu, float* target, Isa isa,
                                  int threads) {
  const JointKernels& kernels = joint_kernels(isa);
  const int64_t m = teacher.m;
  const JointSource source(teacher, threads);
  source.fill(target, m, kernels, threads);
  const auto first = static_cast<float>(mu * (1 - eta)), second = static_cast<float>(mu * eta / static_cast<double>(m));
  if (eta == 0) {
    for (int64_t k = 0; k < m * m; ++k) target[k] *= first;
    return;
  }
  const auto affinity = make_lines<float>(m * m);
  std::memcpy(affinity.get(), target, sizeof(float) * static_cast<size_t>(m * m));
  const std::vector<JointRows> rows = {JointRows{affinity.get(), m, m, nullptr, {}}};
  const float weight = 1;
  products_of_rows(rows, &weight, kernels, threads,
                   [&](int64_t i, int64_t count, int64_t j, int64_t columns, const float* block, int) {
                     for (int64_t r = 0; r < count; ++r) {
                       for (int64_t c = 0; c < columns; ++c) {
                         const float s = affinity[(i + r) * m + j + c];
                         const float value = first * s + second * block[r * kJointStride + c];
                         target[(i + r) * m + j + c] = target[(j + c) * m + i + r] = value;
                       }
                     }
                   });
}

void joint_semantics_moments_cpu(const JointTeacher& teacher, bool products, double* moments, Isa isa, int threads) {
  const JointKernels& kernels = joint_kernels(isa);
  const JointSource source(teacher, threads);
  const int64_t m = teacher.m;
  if (!source.given() && m > source.rank()) return moments_of_features(source, kernels, threads, moments);
  if (source.given() && teacher.index == nullptr) {
    return moments_of_affinity(teacher.affinity, m, m, products, kernels, threads, moments);
  }
  const int64_t stride = round_up(m, 16);
  const auto affinity = make_lines<float>(m * stride);
  source.fill(affinity.get(), stride, kernels, threads);
  moments_of_affinity(affinity.get(), m, stride, products, kernels, threads, moments);
}

}  // namespace fasthash
