// Cuts a problem into blocks, gives them to lanes, and lanes to threads.
//
// The longer operand is the bank. Each lane owns a fixed set of bank blocks and its own sum of the batch's gradient;
// lanes are added in their order. How many lanes there are follows from the sizes alone, so the result is bitwise the
// same for any number of threads.
#include "pairwise_nll.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "cpu/pairwise_nll_block.h"
#include "cpu/pairwise_nll_threads.h"

namespace fasthash {
namespace {

constexpr int64_t kSmallWork = int64_t{1} << 22;      // multiply-adds worth less than starting a thread
constexpr int64_t kPartialFloats = int64_t{8} << 20;  // all lanes' partial gradients: 32 MiB

int64_t ceil_div(int64_t x, int64_t y) { return (x + y - 1) / y; }

struct Free {
  void operator()(float* p) const { ::operator delete[](p, std::align_val_t{64}); }
};
using Buffer = std::unique_ptr<float[], Free>;

Buffer make_buffer(int64_t floats) {
  const auto bytes = sizeof(float) * static_cast<size_t>(std::max<int64_t>(floats, 1));
  return Buffer(static_cast<float*>(::operator new[](bytes, std::align_val_t{64})));
}

// One operand, with rows of whole vectors.
struct Side {
  const float* rows;
  int64_t count, stride;
  Buffer padded;
  const int64_t* labels;
  std::vector<int32_t> planes;
  int64_t plane;

  Side(const float* x, int64_t n, int64_t d, int64_t width, const int64_t* ids)
      : rows(x), count(n), stride(d), labels(ids), plane(n + kNllBankRows) {
    if (d == width) return;
    padded = make_buffer(n * width);
    for (int64_t i = 0; i < n; ++i) {
      std::memcpy(&padded[i * width], x + i * d, sizeof(float) * d);
      std::fill(&padded[i * width] + d, &padded[i * width] + width, 0.0f);
    }
    rows = padded.get();
    stride = width;
  }

  bool uses(int64_t words, int64_t half) const {
    for (int64_t i = 0; i < count; ++i) {
      if (static_cast<uint64_t>(labels[i * words + half / 2]) >> (half % 2 * 32) & 0xffffffffu) return true;
    }
    return false;
  }

  void add_plane(int64_t words, int64_t half) {
    const size_t start = planes.size();
    planes.resize(start + plane);
    for (int64_t i = 0; i < count; ++i) {
      const auto word = static_cast<uint64_t>(labels[i * words + half / 2]);
      planes[start + i] = static_cast<int32_t>(static_cast<uint32_t>(word >> (half % 2 * 32)));
    }
  }
};

class Run {
 public:
  Run(const PairwiseNll& p, const NllKernels& kernels)
      : problem_(p),
        kernels_(kernels),
        swapped_(p.n > p.m),
        width_(ceil_div(p.d, kernels.vector) * kernels.vector),
        batch_(swapped_ ? p.b : p.a, std::min(p.n, p.m), p.d, width_, swapped_ ? p.labels_b : p.labels_a),
        bank_(swapped_ ? p.a : p.b, std::max(p.n, p.m), p.d, width_, swapped_ ? p.labels_a : p.labels_b),
        grad_batch_(swapped_ ? p.grad_b : p.grad_a),
        grad_bank_(swapped_ ? p.grad_a : p.grad_b),
        blocks_(ceil_div(bank_.count, kNllBankRows)),
        lanes_(std::min(blocks_, std::clamp<int64_t>(blocks_ / 4, 8, 64))) {
    if (p.sim == nullptr) make_planes();
    span_ = batch_.count;
    if (grad_batch_ != nullptr) {
      const int64_t fit = kPartialFloats / (lanes_ * width_) / kNllBatchRows * kNllBatchRows;
      span_ = std::min(span_, std::max(fit, kNllBatchRows));
      partial_ = make_buffer(lanes_ * span_ * width_);
    }
  }

  double operator()(int threads) {
    const int64_t work = batch_.count * bank_.count * problem_.d;
    if (work < kSmallWork || lanes_ == 1) threads = 1;
    const int workers = static_cast<int>(std::clamp<int64_t>(threads, 1, lanes_));
    for (int t = 0; t < workers; ++t) {
      scratch_.push_back(make_buffer(panel_floats() + residual_floats() + bank_floats()));
    }
    std::vector<double> losses(lanes_, 0.0);
    for (int64_t start = 0; start < batch_.count; start += span_) {
      const int64_t rows = std::min(span_, batch_.count - start);
      std::atomic<int64_t> next{0};
      // all threads are asked for, even when there are fewer lanes: a pool that shrinks has to grow again
      run_on_threads(threads, [&](int thread) {
        if (thread >= workers) return;
        for (int64_t lane; (lane = next.fetch_add(1)) < lanes_;) losses[lane] += run_lane(lane, start, rows, thread);
      });
      if (grad_batch_ != nullptr) add_lanes(start, rows);
    }
    double loss = 0;
    for (const double part : losses) loss += part;
    return loss;
  }

 private:
  int64_t panel_floats() const { return ceil_div(kNllBankRows * problem_.d, 16) * 16; }
  static int64_t residual_floats() { return kNllBatchRows * kNllResidualRow; }
  int64_t bank_floats() const { return grad_bank_ != nullptr ? kNllBankRows * width_ : 0; }

  // Label words as planes of 32 bits, without those that cannot decide: masks empty on one side, high halves of small
  // ids.
  void make_planes() {
    const int64_t words = std::max<int64_t>(problem_.words, 1);
    for (int64_t half = 0; half < 2 * words; ++half) {
      const bool batch = batch_.uses(words, half), bank = bank_.uses(words, half);
      if (problem_.words > 0 ? !(batch && bank) : half > 0 && !(batch || bank)) continue;
      batch_.add_plane(words, half);
      bank_.add_plane(words, half);
      ++planes_;
    }
  }

  double run_lane(int64_t lane, int64_t start, int64_t rows, int thread) {
    float* partial = grad_batch_ != nullptr ? &partial_[lane * span_ * width_] : nullptr;
    if (partial != nullptr) std::fill(partial, partial + rows * width_, 0.0f);
    double loss = 0;
    for (int64_t index = lane; index < blocks_; index += lanes_) loss += run_block(index, start, rows, partial, thread);
    return loss;
  }

  double run_block(int64_t index, int64_t start, int64_t rows, float* partial, int thread) {
    const int64_t bank_row = index * kNllBankRows;
    float* scratch = scratch_[thread].get();
    NllBlock block{};
    block.a = batch_.rows + start * batch_.stride;
    block.rows_a = rows;
    block.stride_a = batch_.stride;
    block.b = bank_.rows + bank_row * bank_.stride;
    block.rows_b = std::min(kNllBankRows, bank_.count - bank_row);
    block.stride_b = bank_.stride;
    block.d = problem_.d;
    block.width = width_;
    block.labels = problem_.words > 0 ? NllLabels::kMasks : NllLabels::kIds;
    block.planes_a = batch_.planes.data() + start;
    block.planes_b = bank_.planes.data() + bank_row;
    block.planes = planes_;
    block.plane_a = batch_.plane;
    block.plane_b = bank_.plane;
    block.scale = problem_.scale;
    block.panel = scratch;
    block.residual = scratch + panel_floats();
    block.grad_a = partial;
    if (problem_.sim != nullptr) {
      block.labels = NllLabels::kDense;
      block.sim_a = swapped_ ? 1 : problem_.m;
      block.sim_b = swapped_ ? problem_.m : 1;
      block.sim = problem_.sim + start * block.sim_a + bank_row * block.sim_b;
    }
    if (grad_bank_ == nullptr) return kernels_.run(block);
    block.grad_b = scratch + panel_floats() + residual_floats();
    std::fill(block.grad_b, block.grad_b + block.rows_b * width_, 0.0f);
    const double loss = kernels_.run(block);
    for (int64_t j = 0; j < block.rows_b; ++j) {
      float* out = grad_bank_ + (bank_row + j) * problem_.d;
      const float* sum = block.grad_b + j * width_;
      for (int64_t k = 0; k < problem_.d; ++k) out[k] = (start == 0 ? 0.0f : out[k]) + problem_.scale * sum[k];
    }
    return loss;
  }

  void add_lanes(int64_t start, int64_t rows) {
    for (int64_t i = 0; i < rows; ++i) {
      float* sum = &partial_[i * width_];
      for (int64_t lane = 1; lane < lanes_; ++lane) {
        const float* other = &partial_[(lane * span_ + i) * width_];
        for (int64_t k = 0; k < width_; ++k) sum[k] += other[k];
      }
      float* out = grad_batch_ + (start + i) * problem_.d;
      for (int64_t k = 0; k < problem_.d; ++k) out[k] = problem_.scale * sum[k];
    }
  }

  const PairwiseNll& problem_;
  const NllKernels& kernels_;
  bool swapped_;
  int64_t width_;
  Side batch_, bank_;
  float *grad_batch_, *grad_bank_;
  int64_t blocks_, lanes_;
  int64_t planes_ = 0;
  int64_t span_ = 0;  // batch rows handled before the lanes are added: bounds their memory
  Buffer partial_;    // [lanes, span, width]
  std::vector<Buffer> scratch_;
};

}  // namespace

double pairwise_nll_cpu(const PairwiseNll& problem, Isa isa, int threads) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return Run(problem, kNllAvx512)(threads);
  if (isa == Isa::kAvx2) return Run(problem, kNllAvx2)(threads);
#endif
  (void)isa;
  return Run(problem, kNllScalar)(threads);
}

}  // namespace fasthash
