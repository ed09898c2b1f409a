// The rows kernel and the decoding of hits in each instruction set; see hamming_block.h.
#pragma once

#include "cpu/hamming_block.h"

namespace fasthash {

int64_t scan_rows_scalar(const QueryGroup& queries, const Block& block, uint16_t* near, uint64_t* masks);
int block_keys_scalar(const uint64_t* query, const Block& block, const uint64_t* mask, int64_t first, uint64_t* keys);

#if defined(__x86_64__)
int64_t scan_rows_avx2(const QueryGroup& queries, const Block& block, uint16_t* near, uint64_t* masks);
int64_t scan_rows_avx512(const QueryGroup& queries, const Block& block, uint16_t* near, uint64_t* masks);
int block_keys_avx2(const uint64_t* query, const Block& block, const uint64_t* mask, int64_t first, uint64_t* keys);
int block_keys_avx512(const uint64_t* query, const Block& block, const uint64_t* mask, int64_t first, uint64_t* keys);
#endif

}  // namespace fasthash
