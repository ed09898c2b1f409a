#include "cpu/cross_attention_side.h"

#include <algorithm>

namespace fasthash {
namespace {

std::vector<int64_t> starts_of(const AttentionInput& input) {
  std::vector<int64_t> starts(static_cast<size_t>(input.count + 1), 0);
  for (int64_t item = 0; item < input.count; ++item) {
    int64_t rows = 0;
    for (int64_t k = 0; k < input.each; ++k) rows += input.has(item * input.each + k);
    starts[item + 1] = starts[item] + rows;
  }
  return starts;
}

int64_t round_up(int64_t x, int64_t step) { return (x + step - 1) / step * step; }

}  // namespace

AttentionItems::AttentionItems(const AttentionInput& input, const AttentionKernels& kernels, int64_t most)
    : input_(input),
      kernels_(kernels),
      width_(round_up(input.d, kernels.vector)),
      starts_(starts_of(input)),
      gram_starts_{0},
      rows_(starts_.back() * width_),
      inverse_(starts_.back()) {
  for (int64_t item = 0; item < input.count; ++item) {
    longest_item_ = std::max(longest_item_, rows_of(item));
    gram_starts_.push_back(gram_starts_.back() + rows_of(item) * padded(rows_of(item)));
  }
  make_groups(most);
}

void AttentionItems::make_groups(int64_t most) {
  groups_ = {0};
  panel_starts_ = {0};
  for (int64_t item = 1; item <= input_.count; ++item) {
    if (item < input_.count && starts_[item + 1] - starts_[groups_.back()] <= most) continue;
    const int64_t rows = starts_[item] - starts_[groups_.back()];
    longest_group_ = std::max(longest_group_, rows);
    panel_starts_.push_back(panel_starts_.back() + panels_of(rows) * kernels_.panel * input_.d);
    groups_.push_back(item);
  }
}

void AttentionItems::want_grams() {
  has_grams_ = true;
  grams_ = LineBuffer<float>(gram_starts_.back());
}

void AttentionItems::want_grads(bool of_grams) {
  has_grads_ = true;
  grads_ = LineBuffer<float>(starts_.back() * width_);
  has_gram_grads_ = of_grams;
  if (of_grams) gram_grads_ = LineBuffer<float>(gram_starts_.back());
}

void AttentionItems::want_panels() { panels_ = LineBuffer<float>(panel_floats()); }

void AttentionItems::prepare(int64_t item, float* scratch) {
  int64_t row = starts_[item];
  for (int64_t k = item * input_.each; k < (item + 1) * input_.each; ++k) {
    if (!input_.has(k)) continue;
    inverse_.data()[row] = kernels_.unit(input_.vectors + k * input_.d, input_.d, width_, rows_.data() + row * width_);
    ++row;
  }
  if (!has_grams_) return;
  const int64_t count = rows_of(item);
  kernels_.gram(rows_.data() + starts_[item] * width_, count, input_.d, width_, scratch,
                grams_.data() + gram_starts_[item], padded(count));
}

void AttentionItems::pack(int64_t group) {
  const int64_t row = starts_[groups_[group]];
  kernels_.pack(rows_.data() + row * width_, starts_[groups_[group + 1]] - row, input_.d, width_,
                panels_.data() + panel_starts_[group]);
}

void AttentionItems::finish(int64_t item, float* grad) {
  const int64_t count = rows_of(item);
  float* sums = grads_.data() + starts_[item] * width_;
  const float* gram_grad = has_gram_grads_ ? gram_grads_.data() + gram_starts_[item] : nullptr;
  kernels_.finish(rows_.data() + starts_[item] * width_, inverse_.data() + starts_[item], count, width_, gram_grad,
                  padded(count), sums);
  for (int64_t k = 0; k < input_.each; ++k, grad += input_.d) {
    if (input_.has(item * input_.each + k)) {
      std::copy(sums, sums + input_.d, grad);
      sums += width_;
    } else {
      std::fill(grad, grad + input_.d, 0.0f);
    }
  }
}

AttentionSide AttentionItems::side(int64_t group) {
  return {rows_.data(),
          starts_.data(),
          groups_[group],
          groups_[group + 1] - groups_[group],
          has_grams_ ? grams_.data() : nullptr,
          gram_starts_.data(),
          has_grads_ ? grads_.data() : nullptr,
          has_gram_grads_ ? gram_grads_.data() : nullptr};
}

}  // namespace fasthash
