// The sliced kernel in each instruction set: distances of many codes at once, one bit of all of them to a vector.
//
// Slice b of a block holds bit b of each of its codes. Adding the slices bit by bit (carry-save: sum = a ^ b ^ c, carry
// = majority(a, b, c)) counts the differing bits once each slice is complemented where the query's bit is set. The
// first level of that addition hardly depends on the query: complementing inputs can only complement a sum, and a carry
// takes 8 values for the 8 patterns of three query bits. So the block is prepared once for all queries: sums are added
// on to the last, every carry becomes a table of its 8 values, and a query looks up (8 bytes - 2) / 2 carries and adds
// those: half the slices, and half the work, of counting all bits.
//
//   distance = 2 (sum of the 4 bytes - 1 carries) + a + b, where a and b are the two sums that are left over.
//   distance < limit = 2 u + v  <=>  (sum of carries) + majority(a, b, v) <= u - 1 + v
//
// so that a and b, with the limit's low bit in place of a third slice, are one more table, and the comparison starts
// from its complement.
#pragma once

#include "cpu/hamming_block.h"

namespace fasthash {

constexpr int kMaxCountBits = 11;  // of a sum of carries: up to 2047 for codes of 512 bytes
constexpr int kPatterns = 8;       // of three query bits

// Tables of a block: those of the carries, and the last one for the two sums.
static inline int64_t sliced_tables(int64_t bytes) { return 4 * bytes; }

// Bits of a sum of 4 bytes - 1 carries.
static inline int sliced_count_bits(int64_t bytes) {
  return 64 - __builtin_clzll(static_cast<uint64_t>(4 * bytes - 1));
}

// A prepared query: the pattern of each table, times kPatternScale; the bits of u - 1 + v as words of equal bits; and a
// word that keeps the query's bits of a and b.
constexpr int kPatternScale = 16;
static inline int64_t sliced_bits_at(int64_t bytes) { return (sliced_tables(bytes) + 7) / 8 * 8; }
static inline int64_t sliced_query_bytes(int64_t bytes) { return sliced_bits_at(bytes) + 8 * (kMaxCountBits + 1); }

// Slices and tables of a block of kTileCodes codes.
static inline int64_t sliced_block_bytes(int64_t bytes) {
  return (kPatterns * sliced_tables(bytes) + 64 * words_of(bytes)) * (kTileCodes / 8) +
         words_of(bytes) * kTileStride * 8;
}

void prepare_sliced(const uint64_t* words, int64_t bytes, uint8_t* prepared);
void set_limit_sliced(int limit, int64_t bytes, uint8_t* prepared);

#define FASTHASH_SLICED_KERNEL(isa)                                                                         \
  const uint64_t* load_sliced_##isa(const uint8_t* codes, int64_t count, int64_t bytes, uint64_t* scratch); \
  int64_t scan_sliced_##isa(const QueryGroup& queries, const Block& block, uint16_t* near, uint64_t* masks)
FASTHASH_SLICED_KERNEL(scalar);
#if defined(__x86_64__)
FASTHASH_SLICED_KERNEL(avx2);
FASTHASH_SLICED_KERNEL(avx512);
#elif defined(__aarch64__)
FASTHASH_SLICED_KERNEL(neon);
#endif
#undef FASTHASH_SLICED_KERNEL

}  // namespace fasthash
