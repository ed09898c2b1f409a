// Two words of codes to a vector: what every x86-64 and every 64-bit Arm processor has; see hamming_sliced.h.
#include "cpu/hamming_sliced.h"

#include <cstring>

namespace fasthash {
namespace {

typedef uint64_t Lanes __attribute__((vector_size(16)));

inline Lanes load(const void* from) {
  Lanes x;
  std::memcpy(&x, from, sizeof x);
  return x;
}
inline void store(uint64_t* to, Lanes x) { std::memcpy(to, &x, sizeof x); }
inline Lanes sum3(Lanes a, Lanes b, Lanes c) { return a ^ b ^ c; }
inline Lanes majority(Lanes a, Lanes b, Lanes c) { return (a & b) | ((a ^ b) & c); }
inline Lanes borrow(Lanes sum, Lanes limit, Lanes nearer) { return majority(~sum, limit, nearer); }
inline Lanes carry_beside(Lanes, Lanes a, Lanes b, Lanes c) { return majority(a, b, c); }
inline Lanes both(Lanes a, Lanes b) { return a & b; }
inline bool any(Lanes x) { return (x[0] | x[1]) != 0; }
inline Lanes all_equal(uint64_t word) { return Lanes{word, word}; }

// table[p] = majority of the three, each complemented where its bit of p is set.
inline void store_carries(Lanes a, Lanes b, Lanes c, Lanes* table) {
  const Lanes carries[4] = {majority(a, b, c), majority(~a, b, c), majority(a, ~b, c), majority(a, b, ~c)};
  table[0] = carries[0], table[7] = ~carries[0];
  table[1] = carries[1], table[6] = ~carries[1];
  table[2] = carries[2], table[5] = ~carries[2];
  table[4] = carries[3], table[3] = ~carries[3];
}

#include "cpu/hamming_sliced.inl"

// rows[i] bit j <-> rows[j] bit i, by swapping ever smaller squares.
void transpose_64(uint64_t* rows) {
  uint64_t keep = 0x00000000ffffffffu;
  for (int size = 32; size != 0; size /= 2, keep ^= keep << size)
    for (int top = 0; top < 64; top += 2 * size)
      for (int j = top; j < top + size; ++j) {
        const uint64_t moved = (rows[j] >> size ^ rows[j + size]) & keep;
        rows[j + size] ^= moved;
        rows[j] ^= moved << size;
      }
}

void slice_part(const uint64_t* tile, int words, int part, Lanes* slices) {
  uint64_t rows[64];
  for (int w = 0; w < words; ++w)
    for (int half = 0; half < kPartWords; ++half) {
      std::memcpy(rows, tile + w * kTileStride + part * kLaneCodes + 64 * half, sizeof rows);
      transpose_64(rows);
      for (int b = 0; b < 64; ++b) slices[64 * w + b][half] = rows[b];
    }
}

}  // namespace

void prepare_sliced(const uint64_t* words, int64_t bytes, uint8_t* prepared) {
  uint8_t bits[8 * 512], *last = prepared + sliced_bits_at(bytes) + 8 * kMaxCountBits;
  int64_t n = 8 * bytes;
  for (int64_t b = 0; b < n; ++b) bits[b] = words[b / 64] >> (b % 64) & 1;
  while (n > 2) {  // as build_tables goes through the slices
    int64_t sums = 0, b = 0;
    for (; b + 3 <= n; b += 3) {
      *prepared++ = static_cast<uint8_t>(kPatternScale * (bits[b] | bits[b + 1] << 1 | bits[b + 2] << 2));
      bits[sums++] = bits[b] ^ bits[b + 1] ^ bits[b + 2];
    }
    for (; b < n; ++b) bits[sums++] = bits[b];
    n = sums;
  }
  *last = static_cast<uint8_t>(bits[0] | bits[1] << 1);
}

void set_limit_sliced(int limit, int64_t bytes, uint8_t* prepared) {
  const int sums = prepared[sliced_bits_at(bytes) + 8 * kMaxCountBits];
  // The complement of a majority is the majority of the complements.
  prepared[sliced_tables(bytes) - 1] = static_cast<uint8_t>(kPatternScale * ((sums | (limit & 1) << 2) ^ 7));
  const uint64_t rest = static_cast<uint64_t>(limit / 2 - 1 + limit % 2);
  uint8_t* to = prepared + sliced_bits_at(bytes);
  for (int i = 0; i < kMaxCountBits; ++i) {
    const uint64_t word = rest >> i & 1 ? ~uint64_t{0} : 0;
    std::memcpy(to + 8 * i, &word, sizeof word);
  }
}

const uint64_t* load_sliced_scalar(const uint8_t* codes, int64_t count, int64_t bytes, uint64_t* scratch) {
  return load_parts(codes, count, bytes, scratch);
}

int64_t scan_sliced_scalar(const QueryGroup& queries, const Block& block, uint16_t* near, uint64_t* masks) {
  return scan_sliced(queries, block, near, masks);
}

}  // namespace fasthash
