// One operand of a pair loss as the kernels want it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "cpu/line_buffer.h"
#include "pair_loss.h"

namespace fasthash {

class PairSide {
 public:
  // Rows of `width` floats, a whole number of vectors; `unit`: of length 1. Copies where it must.
  PairSide(const PairOperand& from, int64_t d, int64_t width, bool unit);

  const float* rows() const { return rows_; }
  int64_t count() const { return from_.rows; }
  int64_t stride() const { return stride_; }
  const PairOperand& from() const { return from_; }

  // Whether any row has a bit in this half of a label word.
  bool uses(int64_t half) const;
  // The half of every row's label word as one more plane.
  void add_plane(int64_t half);
  const int32_t* planes() const { return planes_.data(); }
  int64_t plane() const { return from_.rows + kOverread; }

  void make_squares();
  const float* squares() const { return squares_.data(); }
  const float* weights() const { return weights_.empty() ? nullptr : weights_.data(); }

  // From the gradient of the rows of length 1 to that of the rows they were.
  void undo_unit_length() const;

 private:
  static constexpr int64_t kOverread = 256;  // kernels read whole blocks

  PairOperand from_;
  int64_t d_;
  const float* rows_;
  int64_t stride_;
  std::optional<LineBuffer<float>> copy_;
  std::vector<float> lengths_;
  std::vector<int32_t> planes_;
  std::vector<float> squares_, weights_;
};

}  // namespace fasthash
