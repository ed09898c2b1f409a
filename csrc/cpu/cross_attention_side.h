// The images, or the captions, of cross attention: what there is of their vectors, at unit length.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/cross_attention_block.h"
#include "cpu/line_buffer.h"

namespace fasthash {

// One item of the input: `each` vectors of width d, and which of them there are.
struct AttentionInput {
  const float* vectors;  // [count, each, d]
  const uint8_t* mask;   // [count, each] or null: all
  int64_t count, each, d;

  bool has(int64_t index) const { return mask == nullptr || mask[index] != 0; }
};

// Masked vectors are left out, so that nothing after this knows of masks: items have from 0 to `each` rows. Work on an
// item touches what is that item's alone.
class AttentionItems {
 public:
  // most: rows of a group of items, which is one side of a block; one item may have more
  AttentionItems(const AttentionInput& input, const AttentionKernels& kernels, int64_t most);

  int64_t count() const { return input_.count; }
  int64_t groups() const { return static_cast<int64_t>(groups_.size()) - 1; }
  int64_t longest_group() const { return longest_group_; }
  int64_t longest_item() const { return longest_item_; }
  int64_t panel_floats() const { return panel_starts_.back(); }
  int64_t scratch_floats() const { return panels_of(longest_item_) * kernels_.panel * input_.d; }

  void want_grams();
  void want_grads(bool of_grams);
  void want_panels();

  // unit vectors, Gram matrix and zero sums of one item; scratch: scratch_floats
  void prepare(int64_t item, float* scratch);
  void pack(int64_t group);
  // The gradient of one item's given vectors [each, d], from its sums.
  void finish(int64_t item, float* grad);

  AttentionSide side(int64_t group);
  const float* panels(int64_t group) { return panels_.data() + panel_starts_[group]; }

 private:
  int64_t panels_of(int64_t rows) const { return (rows + kernels_.panel - 1) / kernels_.panel; }
  int64_t padded(int64_t rows) const { return (rows + kernels_.vector - 1) / kernels_.vector * kernels_.vector; }
  int64_t rows_of(int64_t item) const { return starts_[item + 1] - starts_[item]; }
  void make_groups(int64_t most);

  AttentionInput input_;
  const AttentionKernels& kernels_;
  int64_t width_;  // d rounded up to whole vectors
  int64_t longest_item_ = 0, longest_group_ = 0;
  std::vector<int64_t> starts_;        // [count + 1] rows before each item
  std::vector<int64_t> gram_starts_;   // [count + 1]
  std::vector<int64_t> groups_;        // first item of each group, and the end
  std::vector<int64_t> panel_starts_;  // [groups + 1]
  LineBuffer<float> rows_, inverse_;   // [starts.back(), width], [starts.back()]
  LineBuffer<float> grams_{0}, gram_grads_{0}, grads_{0}, panels_{0};
  bool has_grams_ = false, has_grads_ = false, has_gram_grads_ = false;
};

}  // namespace fasthash
