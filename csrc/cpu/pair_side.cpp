#include "cpu/pair_side.h"

#include <cmath>
#include <cstring>

#include "cpu/pair_block.h"

namespace fasthash {

namespace {

constexpr float kShortest = 1e-12f;  // shorter rows have no direction

float length_of(const float* x, int64_t d) {
  double sum = 0;
  for (int64_t k = 0; k < d; ++k) sum += double{x[k]} * x[k];
  return static_cast<float>(std::sqrt(sum));
}

}  // namespace

PairSide::PairSide(const PairOperand& from, int64_t d, int64_t width, bool unit)
    : from_(from), d_(d), rows_(from.x), stride_(from.stride) {
  static_assert(kOverread >= kPairBankRows);
  if (from.weights != nullptr) {
    weights_.assign(from.weights, from.weights + from.rows);
    weights_.resize(static_cast<size_t>(from.rows + kOverread));
  }
  if (d == width && !unit) return;
  copy_.emplace(from.rows * width);
  for (int64_t i = 0; i < from.rows; ++i) {
    const float* x = from.x + i * from.stride;
    float* to = copy_->data() + i * width;
    if (!unit) {
      std::memcpy(to, x, sizeof(float) * static_cast<size_t>(d));
      continue;
    }
    const float length = length_of(x, d);
    lengths_.push_back(length);
    // a length that is NaN must reach the loss
    for (int64_t k = 0; k < d; ++k) to[k] = length < kShortest ? 0.0f : x[k] / length;
  }
  rows_ = copy_->data();
  stride_ = width;
}

bool PairSide::uses(int64_t half) const {
  for (int64_t i = 0; i < from_.rows; ++i) {
    const auto word = static_cast<uint64_t>(from_.labels[i * from_.label_stride + half / 2]);
    if (word >> (half % 2 * 32) & 0xffffffffu) return true;
  }
  return false;
}

void PairSide::add_plane(int64_t half) {
  const size_t start = planes_.size();
  planes_.resize(start + static_cast<size_t>(plane()));
  for (int64_t i = 0; i < from_.rows; ++i) {
    const auto word = static_cast<uint64_t>(from_.labels[i * from_.label_stride + half / 2]);
    planes_[start + static_cast<size_t>(i)] = static_cast<int32_t>(static_cast<uint32_t>(word >> (half % 2 * 32)));
  }
}

void PairSide::make_squares() {
  squares_.resize(static_cast<size_t>(from_.rows + kOverread));
  for (int64_t i = 0; i < from_.rows; ++i) {
    double sum = 0;
    for (int64_t k = 0; k < d_; ++k) sum += double{rows_[i * stride_ + k]} * rows_[i * stride_ + k];
    squares_[static_cast<size_t>(i)] = static_cast<float>(sum);
  }
}

void PairSide::undo_unit_length() const {
  if (from_.grad == nullptr) return;
  for (int64_t i = 0; i < from_.rows; ++i) {
    const float length = lengths_[static_cast<size_t>(i)];
    const float* unit = rows_ + i * stride_;
    float* grad = from_.grad + i * from_.stride;
    double along = 0;
    for (int64_t k = 0; k < d_; ++k) along += double{grad[k]} * unit[k];
    for (int64_t k = 0; k < d_; ++k) {
      grad[k] = length < kShortest ? 0.0f : (grad[k] - static_cast<float>(along) * unit[k]) / length;
    }
  }
}

}  // namespace fasthash
