// Row-major codes, one after the other, with a popcount of one word at a time; see hamming_block.h for the contract.
#include <immintrin.h>

#include "cpu/hamming_block.h"
#include "cpu/hamming_rows.h"
#include "cpu/row_words.h"

namespace fasthash {
namespace {

inline uint64_t count_bits(uint64_t x) { return static_cast<uint64_t>(_mm_popcnt_u64(x)); }

#include "cpu/hamming_rows.inl"
#include "cpu/hamming_rows_plain.inl"

}  // namespace

int64_t scan_rows_avx2(const QueryGroup& queries, const Block& block, uint16_t* near, uint64_t* masks) {
  return scan_by_rows(queries, block, near, masks);
}

int block_keys_avx2(const uint64_t* query, const Block& block, const uint64_t* mask, int64_t first, uint64_t* keys) {
  return keys_of_block(query, block, mask, first, keys);
}

}  // namespace fasthash
