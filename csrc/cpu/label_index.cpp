#include "cpu/label_index.h"

#include <algorithm>

namespace fasthash {

template <typename Each>
void LabelIndex::each_class(const uint64_t* row, Each&& each) const {
  if (words_ == 0) {
    each(static_cast<int64_t>(row[0]));
    return;
  }
  for (int w = 0; w < words_; ++w)
    for (uint64_t rest = row[w]; rest != 0; rest &= rest - 1) each(int64_t{w} * 64 + __builtin_ctzll(rest));
}

LabelIndex::LabelIndex(const uint64_t* labels, int64_t n, int words) : words_(words), map_words_((n + 63) / 64) {
  if (labels == nullptr || n == 0) return;
  const int64_t stride = words == 0 ? 1 : words;
  classes_ = words == 0 ? static_cast<int64_t>(*std::max_element(labels, labels + n)) + 1 : int64_t{words} * 64;
  std::vector<int64_t> sizes(static_cast<size_t>(classes_), 0);
  for (int64_t i = 0; i < n; ++i) each_class(labels + i * stride, [&](int64_t c) { ++sizes[c]; });

  // A class is kept in the form that takes less memory: a bit for every item, or 32 for each item that has it.
  maps_.assign(static_cast<size_t>(classes_), -1);
  starts_.assign(static_cast<size_t>(classes_) + 1, 0);
  int64_t maps = 0;
  for (int64_t c = 0; c < classes_; ++c) {
    const bool frequent = sizes[c] * 32 >= n;
    if (frequent) maps_[c] = maps++ * map_words_;
    starts_[c + 1] = starts_[c] + (frequent ? 0 : sizes[c]);
  }
  bits_.assign(static_cast<size_t>(maps * map_words_), 0);
  items_.resize(static_cast<size_t>(starts_[classes_]));
  std::vector<int64_t> next(starts_.begin(), starts_.end() - 1);
  for (int64_t i = 0; i < n; ++i)
    each_class(labels + i * stride, [&](int64_t c) {
      if (maps_[c] < 0)
        items_[next[c]++] = static_cast<uint32_t>(i);
      else
        bits_[maps_[c] + i / 64] |= uint64_t{1} << (i % 64);
    });
}

template <typename Each>
void LabelIndex::each_item(int64_t label, int64_t first, int64_t count, Each&& each) const {
  const uint32_t* end = items_.data() + starts_[label + 1];
  const uint32_t* item = std::lower_bound(items_.data() + starts_[label], end, static_cast<uint32_t>(first));
  for (; item != end && *item < first + count; ++item) each(*item - first);
}

void LabelIndex::add(int64_t label, int64_t first, int64_t count, uint64_t* bits) const {
  if (label >= classes_) return;
  if (maps_[label] >= 0) {
    const uint64_t* map = bits_.data() + maps_[label] + first / 64;
    for (int64_t w = 0; w < (count + 63) / 64; ++w) bits[w] |= map[w];
    return;
  }
  each_item(label, first, count, [&](int64_t j) { bits[j / 64] |= uint64_t{1} << (j % 64); });
}

void LabelIndex::relevant(const uint64_t* query, int64_t first, int64_t count, uint64_t* bits) const {
  std::fill(bits, bits + (count + 63) / 64, uint64_t{0});
  if (classes_ == 0) return;
  each_class(query, [&](int64_t label) { add(label, first, count, bits); });
}

void LabelIndex::common(const uint64_t* query, int64_t first, int64_t count, int slices, int64_t stride,
                        uint64_t* bits) const {
  const int64_t words = (count + 63) / 64;
  for (int p = 0; p < slices; ++p) std::fill(bits + p * stride, bits + p * stride + words, uint64_t{0});
  if (classes_ == 0) return;
  std::vector<uint64_t> carry(static_cast<size_t>(words));
  int64_t added = 0;
  each_class(query, [&](int64_t label) {
    if (label >= classes_) return;
    if (maps_[label] >= 0) {
      const uint64_t* map = bits_.data() + maps_[label] + first / 64;
      std::copy_n(map, words, carry.data());
    } else {
      std::fill(carry.begin(), carry.end(), uint64_t{0});
      each_item(label, first, count, [&](int64_t j) { carry[j / 64] |= uint64_t{1} << (j % 64); });
    }
    ++added;  // no number is larger, so higher slices stay as they are
    for (int p = 0; p < slices && added >> p != 0; ++p) {
      uint64_t* slice = bits + p * stride;
      for (int64_t w = 0; w < words; ++w) {
        const uint64_t next = slice[w] & carry[w];
        slice[w] ^= carry[w];
        carry[w] = next;
      }
    }
  });
}

}  // namespace fasthash
