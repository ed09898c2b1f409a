// Row-major codes, one after the other; see hamming_block.h for the contract.
#include "cpu/hamming_rows.h"

#include "cpu/count_bits.h"
#include "cpu/hamming_block.h"
#include "cpu/row_words.h"

namespace fasthash {
namespace {

#include "cpu/hamming_rows.inl"
#include "cpu/hamming_rows_plain.inl"

}  // namespace

int64_t scan_rows_scalar(const QueryGroup& queries, const Block& block, uint16_t* near, uint64_t* masks) {
  return scan_by_rows(queries, block, near, masks);
}

int block_keys_scalar(const uint64_t* query, const Block& block, const uint64_t* mask, int64_t first, uint64_t* keys) {
  return keys_of_block(query, block, mask, first, keys);
}

}  // namespace fasthash
