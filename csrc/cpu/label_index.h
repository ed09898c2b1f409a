// Which items share a label with a query, as a bitmap: found by class, so that no pair of label sets is ever compared.
#pragma once

#include <cstdint>
#include <vector>

namespace fasthash {

class LabelIndex {
 public:
  // labels: [n, words] bitmasks or, with words = 0, [n] class ids; n is below 2^32. Null: no item has a label.
  LabelIndex(const uint64_t* labels, int64_t n, int words);

  // bits: [ceil(count / 64)], bit j % 64 of word j / 64 = whether item first + j shares a label with the query.
  //   query  labels of one query, of the form of the index
  //   first  a multiple of 64
  void relevant(const uint64_t* query, int64_t first, int64_t count, uint64_t* bits) const;

  // How many labels items first .. first + count - 1 share with the query, in bit slices: slice p, at bits + p * stride
  // and laid out as above, has bit p of each number. The numbers must be below 2^slices.
  void common(const uint64_t* query, int64_t first, int64_t count, int slices, int64_t stride, uint64_t* bits) const;

 private:
  template <typename Each>
  void each_class(const uint64_t* row, Each&& each) const;
  template <typename Each>
  void each_item(int64_t label, int64_t first, int64_t count, Each&& each) const;
  void add(int64_t label, int64_t first, int64_t count, uint64_t* bits) const;

  int words_;
  int64_t classes_ = 0;
  int64_t map_words_;            // words of one bitmap over all items
  std::vector<int64_t> maps_;    // [classes] start of the class's bitmap in bits_, or -1: it is a list
  std::vector<int64_t> starts_;  // [classes + 1] its list is [starts_[c], starts_[c + 1]) of items_
  std::vector<uint64_t> bits_;   // bitmaps of the frequent classes
  std::vector<uint32_t> items_;  // ascending lists of the rare ones
};

}  // namespace fasthash
