// 512 codes to a vector: additions are one VPTERNLOG for the sum and one for the carry; see hamming_sliced.h.
#include "cpu/avx512.h"
#include "cpu/hamming_sliced.h"

namespace fasthash {
namespace {

typedef __m512i Lanes;

inline Lanes load(const void* from) { return _mm512_loadu_si512(from); }
inline void store(uint64_t* to, Lanes x) { _mm512_storeu_si512(to, x); }
inline Lanes sum3(Lanes a, Lanes b, Lanes c) { return _mm512_ternarylogic_epi64(a, b, c, 0x96); }
// majority(a, b, c) without a: where b and c differ it is a, which then is not the sum. The sum may overwrite a and
// this may overwrite c, so that an adder copies no register.
inline Lanes carry_beside(Lanes sum, Lanes, Lanes b, Lanes c) { return _mm512_ternarylogic_epi64(c, sum, b, 0xb2); }
inline Lanes borrow(Lanes sum, Lanes limit, Lanes nearer) {
  return _mm512_ternarylogic_epi64(sum, limit, nearer, 0x8e);  // majority(~sum, limit, nearer)
}
inline Lanes both(Lanes a, Lanes b) { return _mm512_and_si512(a, b); }
inline bool any(Lanes x) { return _mm512_test_epi64_mask(x, x) != 0; }
inline Lanes all_equal(uint64_t word) { return _mm512_set1_epi64(static_cast<long long>(word)); }

// The truth table of the majority of three, each complemented where its bit of the pattern is set.
constexpr int majority_of(int pattern) {
  int truth = 0;
  for (int i = 0; i < 8; ++i) {
    const int a = (i >> 2 ^ pattern) & 1, b = (i >> 1 ^ pattern >> 1) & 1, c = (i ^ pattern >> 2) & 1;
    if (a + b + c >= 2) truth |= 1 << i;
  }
  return truth;
}

template <int kPattern>
inline void store_carries_from(Lanes a, Lanes b, Lanes c, Lanes* table) {
  _mm512_store_si512(table + kPattern, _mm512_ternarylogic_epi64(a, b, c, majority_of(kPattern)));
  if constexpr (kPattern + 1 < kPatterns) store_carries_from<kPattern + 1>(a, b, c, table);
}
inline void store_carries(Lanes a, Lanes b, Lanes c, Lanes* table) { store_carries_from<0>(a, b, c, table); }

#include "cpu/hamming_sliced.inl"
#include "cpu/hamming_words_avx512.inl"

struct Bytes {
  alignas(64) uint8_t at[64];
};

// Byte b of the eight codes to lane b, the last code first: the order that GF2P8AFFINEQB turns round.
constexpr Bytes make_columns() {
  Bytes order{};
  for (int b = 0; b < 8; ++b)
    for (int r = 0; r < 8; ++r) order.at[8 * b + r] = static_cast<uint8_t>(8 * (7 - r) + b);
  return order;
}

constexpr Bytes make_gather() {
  Bytes order{};
  for (int lane = 0; lane < 8; ++lane)
    for (int b = 0; b < 8; ++b) order.at[8 * lane + b] = static_cast<uint8_t>(8 * b + lane);
  return order;
}

constexpr Bytes kColumns = make_columns(), kGather = make_gather();

// kWords of the words of a block. of_eight(g, words) loads those of codes 8 g .. 8 g + 7.
template <int kWords, typename LoadEight>
inline void slice_words(const LoadEight& of_eight, Lanes* slices) {
  const __m512i unit = _mm512_set1_epi64(static_cast<long long>(0x8040201008040201));
  const __m512i columns = _mm512_load_si512(kColumns.at), gather = _mm512_load_si512(kGather.at);
  __m512i bits[kWords][8][8];  // [word][byte][64 codes]: lane i, byte s: bit i... of eight codes
  for (int g = 0; g < 8; ++g) {
    __m512i rows[kWords][8];
    for (int i = 0; i < 8; ++i) {
      __m512i words[kWords];
      of_eight(8 * g + i, words);
      for (int w = 0; w < kWords; ++w)
        rows[w][i] = _mm512_gf2p8affine_epi64_epi8(unit, _mm512_permutexvar_epi8(columns, words[w]), 0);
    }
    for (int w = 0; w < kWords; ++w) {
      transpose_8(rows[w]);  // row b, lane i: the bits of byte b of codes 8 i .. 8 i + 7, bit by bit
      for (int b = 0; b < 8; ++b) bits[w][b][g] = _mm512_permutexvar_epi8(gather, rows[w][b]);
    }
  }
  for (int w = 0; w < kWords; ++w)
    for (int b = 0; b < 8; ++b) {
      transpose_8(bits[w][b]);
      for (int s = 0; s < 8; ++s) slices[64 * w + 8 * b + s] = bits[w][b][s];
    }
}

template <int kWords>
void slice_rows(const uint8_t* codes, Lanes* slices) {
  slice_words<kWords>([&](int g, __m512i* words) { load_eight<kWords>(codes + g * (64 * kWords), words); }, slices);
}

// Codes of eight words in two halves: what lies between the transpositions stays in the first cache.
void slice_halves(const uint8_t* codes, Lanes* slices) {
  for (int half = 0; half < 2; ++half) {
    const auto of_eight = [&](int g, __m512i* words) { load_eight_fours(codes + 512 * g + 32 * half, 64, words); };
    slice_words<4>(of_eight, slices + 256 * half);
  }
}

void slice_part(const uint64_t* tile, int words, int, Lanes* slices) {
  for (int w = 0; w < words; ++w) {
    const auto of_eight = [&](int g, __m512i* word) { *word = _mm512_load_si512(tile + w * kTileStride + 8 * g); };
    slice_words<1>(of_eight, slices + 64 * w);
  }
}

}  // namespace

const uint64_t* load_sliced_avx512(const uint8_t* codes, int64_t count, int64_t bytes, uint64_t* scratch) {
  const Scratch memory = scratch_of(scratch, bytes);
  if (count == kTileCodes && bytes == 8) {
    slice_rows<1>(codes, memory.slices);
  } else if (count == kTileCodes && bytes == 16) {
    slice_rows<2>(codes, memory.slices);
  } else if (count == kTileCodes && bytes == 32) {
    slice_rows<4>(codes, memory.slices);
  } else if (count == kTileCodes && bytes == 64) {
    slice_halves(codes, memory.slices);
  } else {
    load_tile_avx512(codes, count, bytes, memory.tile);
    slice_part(memory.tile, words_of(bytes), 0, memory.slices);
  }
  build_tables(memory.slices, 8 * bytes, memory.tables);
  return scratch;
}

int64_t scan_sliced_avx512(const QueryGroup& queries, const Block& block, uint16_t* near, uint64_t* masks) {
  return scan_sliced(queries, block, near, masks);
}

}  // namespace fasthash
