// Cuts a problem into blocks, gives them to lanes, and lanes to threads.
//
// The longer operand is the bank. Each lane owns a fixed set of bank blocks and its own sum of the batch's gradient;
// lanes are added in their order. How many lanes there are follows from the sizes alone, so the result is bitwise the
// same for any number of threads.
#include "pair_loss.h"

#include <algorithm>
#include <vector>

#include "cpu/line_buffer.h"
#include "cpu/pair_block.h"
#include "cpu/pair_side.h"
#include "cpu/run_on_threads.h"

namespace fasthash {
namespace {

constexpr int64_t kSmallWork = int64_t{1} << 22;      // multiply-adds worth less than starting a thread
constexpr int64_t kPartialFloats = int64_t{8} << 20;  // all lanes' partial gradients: 32 MiB

int64_t ceil_div(int64_t x, int64_t y) { return (x + y - 1) / y; }

enum class Kind { kNll, kCosine, kEuclidean };

// Products of bfloat16 numbers round sizes up to whole tiles and pack both sides; smaller problems lose more by that
// than they gain.
constexpr int64_t kBf16Rows = 32, kBf16Columns = 16, kAmxColumns = 17, kBf16Work = int64_t{1} << 19;

const PairKernels& kernels_of(const PairLoss& p, Kind kind, Isa isa, Bf16 bf16) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) {
    const bool large = kind == Kind::kNll && p.d >= kBf16Columns && std::min(p.a.rows, p.b.rows) >= kBf16Rows &&
                       p.a.rows * p.b.rows * p.d >= kBf16Work;
    if (large && bf16 == Bf16::kAmx && p.d >= kAmxColumns) return p.bf16_codes ? kPairAmxBf16 : kPairAmxSplit;
    if (large && bf16 != Bf16::kNone && p.bf16_codes) return kPairAvx512Bf16;
    return kPairAvx512;
  }
  if (isa == Isa::kAvx2) return kPairAvx2;
#endif
  (void)p, (void)kind, (void)isa, (void)bf16;
  return kPairScalar;
}

class Run {
 public:
  Run(const PairLoss& p, Kind kind, float scale, float margin, Isa isa, Bf16 bf16 = Bf16::kNone)
      : problem_(p),
        kind_(kind),
        scale_(scale),
        margin_(margin),
        kernels_(kernels_of(p, kind, isa, bf16)),
        run_(kind == Kind::kNll      ? kernels_.nll
             : kind == Kind::kCosine ? kernels_.cosine
                                     : kernels_.euclidean),
        swapped_(p.a.rows > p.b.rows),
        width_(ceil_div(p.d, kernels_.vector) * kernels_.vector),
        batch_(swapped_ ? p.b : p.a, p.d, width_, kind == Kind::kCosine),
        bank_(swapped_ ? p.a : p.b, p.d, width_, kind == Kind::kCosine),
        blocks_(ceil_div(bank_.count(), kPairBankRows)),
        lanes_(std::min(blocks_, std::clamp<int64_t>(blocks_ / 4, 8, 64))),
        span_(batch_.count()),
        partial_(0) {
    if (p.dense == nullptr) make_planes();
    if (kind == Kind::kEuclidean) {
      batch_.make_squares();
      bank_.make_squares();
    }
    if (batch_.from().grad != nullptr) {
      const int64_t fit = kPartialFloats / (lanes_ * width_) / kPairBatchRows * kPairBatchRows;
      span_ = std::min(span_, std::max(fit, kPairBatchRows));
      partial_ = LineBuffer<float>(lanes_ * span_ * width_);
    }
  }

  double operator()(int threads) {
    const int64_t work = batch_.count() * bank_.count() * problem_.d;
    if (work < kSmallWork || lanes_ == 1) threads = 1;
    const int workers = static_cast<int>(std::clamp<int64_t>(threads, 1, lanes_));
    for (int t = 0; t < workers; ++t) scratch_.emplace_back(panel_floats() + residual_floats() + bank_floats());
    std::vector<double> losses(static_cast<size_t>(lanes_), 0.0);
    for (int64_t start = 0; start < batch_.count(); start += span_) {
      const int64_t rows = std::min(span_, batch_.count() - start);
      run_tasks(lanes_, threads,
                [&](int64_t lane, int thread) { losses[lane] += run_lane(lane, start, rows, thread); });
      if (batch_.from().grad != nullptr) add_lanes(start, rows);
    }
    if (kind_ == Kind::kCosine) {
      batch_.undo_unit_length();
      bank_.undo_unit_length();
    }
    double loss = 0;
    for (const double part : losses) loss += part;
    return loss * problem_.factor;
  }

 private:
  int64_t panel_floats() const { return ceil_div(kernels_.panel_floats(width_), 16) * 16; }
  static int64_t residual_floats() { return kPairBatchRows * kPairResidualRow; }
  int64_t bank_floats() const { return bank_.from().grad != nullptr ? kPairBankRows * width_ : 0; }
  float grad_factor() const { return scale_ * problem_.factor; }

  // Label words as planes of 32 bits, without those that cannot decide: masks empty on one side, high halves of small
  // ids.
  void make_planes() {
    const int64_t words = std::max<int64_t>(problem_.words, 1);
    for (int64_t half = 0; half < 2 * words; ++half) {
      const bool batch = batch_.uses(half), bank = bank_.uses(half);
      if (problem_.words > 0 ? !(batch && bank) : half > 0 && !(batch || bank)) continue;
      batch_.add_plane(half);
      bank_.add_plane(half);
      ++planes_;
    }
  }

  // [batch, bank] of an array [a, b], from a pair on
  PairValues values(const float* array, int64_t batch_row, int64_t bank_row) const {
    if (array == nullptr) return {nullptr, 0, 0};
    const int64_t row = problem_.b.rows, step_a = swapped_ ? 1 : row, step_b = swapped_ ? row : 1;
    return {array + batch_row * step_a + bank_row * step_b, step_a, step_b};
  }

  double run_lane(int64_t lane, int64_t start, int64_t rows, int thread) {
    float* partial = batch_.from().grad != nullptr ? partial_.data() + lane * span_ * width_ : nullptr;
    if (partial != nullptr) std::fill(partial, partial + rows * width_, 0.0f);
    double loss = 0;
    for (int64_t index = lane; index < blocks_; index += lanes_) loss += run_block(index, start, rows, partial, thread);
    return loss;
  }

  PairBlock block_of(int64_t bank_row, int64_t start, int64_t rows) const {
    PairBlock block{};
    block.a = batch_.rows() + start * batch_.stride();
    block.rows_a = rows;
    block.stride_a = batch_.stride();
    block.b = bank_.rows() + bank_row * bank_.stride();
    block.rows_b = std::min(kPairBankRows, bank_.count() - bank_row);
    block.stride_b = bank_.stride();
    block.d = problem_.d;
    block.width = width_;
    block.similar = problem_.dense != nullptr ? PairSimilar::kDense
                    : problem_.words > 0      ? PairSimilar::kMasks
                                              : PairSimilar::kIds;
    if (problem_.dense == nullptr) {
      block.planes_a = batch_.planes() + start;
      block.planes_b = bank_.planes() + bank_row;
    }
    block.planes = planes_;
    block.plane_a = batch_.plane();
    block.plane_b = bank_.plane();
    block.dense = values(problem_.dense, start, bank_row);
    block.weights = values(problem_.weights, start, bank_row);
    block.row_weights_a = batch_.weights() != nullptr ? batch_.weights() + start : nullptr;
    block.row_weights_b = bank_.weights() != nullptr ? bank_.weights() + bank_row : nullptr;
    if (kind_ == Kind::kEuclidean) {
      block.squares_a = batch_.squares() + start;
      block.squares_b = bank_.squares() + bank_row;
    }
    block.scale = scale_;
    block.margin = margin_;
    return block;
  }

  double run_block(int64_t index, int64_t start, int64_t rows, float* partial, int thread) {
    const int64_t bank_row = index * kPairBankRows;
    float* scratch = scratch_[static_cast<size_t>(thread)].data();
    PairBlock block = block_of(bank_row, start, rows);
    block.panel = scratch;
    block.residual = scratch + panel_floats();
    block.grad_a = partial;
    float* grad = bank_.from().grad;
    if (grad == nullptr) return run_(block);
    block.grad_b = scratch + panel_floats() + residual_floats();
    std::fill(block.grad_b, block.grad_b + block.rows_b * width_, 0.0f);
    const double loss = run_(block);
    for (int64_t j = 0; j < block.rows_b; ++j) {
      float* out = grad + (bank_row + j) * bank_.from().stride;
      const float* sum = block.grad_b + j * width_;
      for (int64_t k = 0; k < problem_.d; ++k) out[k] = (start == 0 ? 0.0f : out[k]) + grad_factor() * sum[k];
    }
    return loss;
  }

  void add_lanes(int64_t start, int64_t rows) {
    for (int64_t i = 0; i < rows; ++i) {
      float* sum = partial_.data() + i * width_;
      for (int64_t lane = 1; lane < lanes_; ++lane) {
        const float* other = partial_.data() + (lane * span_ + i) * width_;
        for (int64_t k = 0; k < width_; ++k) sum[k] += other[k];
      }
      float* out = batch_.from().grad + (start + i) * batch_.from().stride;
      for (int64_t k = 0; k < problem_.d; ++k) out[k] = grad_factor() * sum[k];
    }
  }

  const PairLoss& problem_;
  Kind kind_;
  float scale_, margin_;
  const PairKernels& kernels_;
  double (*run_)(const PairBlock&);
  bool swapped_;
  int64_t width_;
  PairSide batch_, bank_;
  int64_t blocks_, lanes_;
  int64_t planes_ = 0;
  int64_t span_;               // batch rows handled before the lanes are added: bounds their memory
  LineBuffer<float> partial_;  // [lanes, span, width]
  std::vector<LineBuffer<float>> scratch_;
};

}  // namespace

double pairwise_nll_cpu(const PairLoss& problem, float scale, Isa isa, int threads, Bf16 bf16) {
  return Run(problem, Kind::kNll, scale, 0.0f, isa, bf16)(threads);
}

double cosine_reconstruction_cpu(const PairLoss& problem, Isa isa, int threads) {
  return Run(problem, Kind::kCosine, 1.0f, 0.0f, isa)(threads);
}

double margin_euclidean_cpu(const PairLoss& problem, float margin, Isa isa, int threads) {
  return Run(problem, Kind::kEuclidean, 1.0f, margin, isa)(threads);
}

}  // namespace fasthash
