// 256 codes to a vector; see hamming_sliced.h.
#include <immintrin.h>

#include "cpu/hamming_sliced.h"

namespace fasthash {
namespace {

typedef __m256i Lanes;

inline Lanes load(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
inline void store(uint64_t* to, Lanes x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), x); }
inline Lanes sum3(Lanes a, Lanes b, Lanes c) { return _mm256_xor_si256(_mm256_xor_si256(a, b), c); }
inline Lanes majority(Lanes a, Lanes b, Lanes c) {
  return _mm256_or_si256(_mm256_and_si256(a, b), _mm256_and_si256(_mm256_xor_si256(a, b), c));
}
// majority(~sum, limit, nearer): where sum and limit agree, what is known so far; else the limit's bit.
inline Lanes borrow(Lanes sum, Lanes limit, Lanes nearer) {
  const Lanes differ = _mm256_xor_si256(sum, limit);
  return _mm256_or_si256(_mm256_and_si256(differ, limit), _mm256_andnot_si256(differ, nearer));
}
inline Lanes carry_beside(Lanes, Lanes a, Lanes b, Lanes c) { return majority(a, b, c); }
inline Lanes both(Lanes a, Lanes b) { return _mm256_and_si256(a, b); }
inline bool any(Lanes x) { return _mm256_testz_si256(x, x) == 0; }
inline Lanes all_equal(uint64_t word) { return _mm256_set1_epi64x(static_cast<long long>(word)); }

// table[p] = majority of the three, each complemented where its bit of p is set; written without complements of the
// inputs: majority(~a, b, c) is c where b = c and ~a elsewhere.
inline void store_carries(Lanes a, Lanes b, Lanes c, Lanes* table) {
  const Lanes ones = _mm256_set1_epi64x(-1);
  const Lanes ab = _mm256_xor_si256(a, b), bc = _mm256_xor_si256(b, c), ac = _mm256_xor_si256(a, c);
  const Lanes m0 = _mm256_xor_si256(a, _mm256_and_si256(ab, ac));     // majority(a, b, c)
  const Lanes m1 = _mm256_xor_si256(b, _mm256_andnot_si256(ab, bc));  // majority(~a, b, c)
  const Lanes m2 = _mm256_xor_si256(a, _mm256_andnot_si256(ab, ac));  // majority(a, ~b, c)
  const Lanes m4 = _mm256_xor_si256(a, _mm256_andnot_si256(ac, ab));  // majority(a, b, ~c)
  _mm256_store_si256(table + 0, m0);
  _mm256_store_si256(table + 1, m1);
  _mm256_store_si256(table + 2, m2);
  _mm256_store_si256(table + 4, m4);
  _mm256_store_si256(table + 3, _mm256_xor_si256(m4, ones));
  _mm256_store_si256(table + 5, _mm256_xor_si256(m2, ones));
  _mm256_store_si256(table + 6, _mm256_xor_si256(m1, ones));
  _mm256_store_si256(table + 7, _mm256_xor_si256(m0, ones));
}

#include "cpu/hamming_sliced.inl"

// Transposes the 8 x 8 matrix of 16-bit elements in each half of eight vectors.
inline void transpose_8x16(__m256i* v) {
  __m256i t[8];
  for (int i = 0; i < 4; ++i) {
    t[2 * i] = _mm256_unpacklo_epi16(v[2 * i], v[2 * i + 1]);
    t[2 * i + 1] = _mm256_unpackhi_epi16(v[2 * i], v[2 * i + 1]);
  }
  for (int half = 0; half < 2; ++half)
    for (int high = 0; high < 2; ++high) {
      const __m256i a = t[4 * half + high], b = t[4 * half + 2 + high];
      v[4 * half + 2 * high] = _mm256_unpacklo_epi32(a, b);
      v[4 * half + 2 * high + 1] = _mm256_unpackhi_epi32(a, b);
    }
  for (int i = 0; i < 4; ++i) {
    t[2 * i] = _mm256_unpacklo_epi64(v[i], v[4 + i]);
    t[2 * i + 1] = _mm256_unpackhi_epi64(v[i], v[4 + i]);
  }
  for (int i = 0; i < 8; ++i) v[i] = t[i];
}

// bytes[b], byte j = byte b of code j, of 32 one-word codes.
inline void load_columns(const uint64_t* codes, __m256i* bytes) {
  const __m256i pair = _mm256_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15,  //
                                        0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
  for (int i = 0; i < 8; ++i) {  // codes 2 i, 2 i + 1 in the lower half, 16 more in the upper: bytes end up in order
    const __m128i low = _mm_load_si128(reinterpret_cast<const __m128i*>(codes + 2 * i));
    const __m128i high = _mm_load_si128(reinterpret_cast<const __m128i*>(codes + 16 + 2 * i));
    bytes[i] = _mm256_shuffle_epi8(_mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1), pair);
  }
  transpose_8x16(bytes);
}

void slice_part(const uint64_t* tile, int words, int part, Lanes* slices) {
  for (int w = 0; w < words; ++w)
    for (int g = 0; g < kLaneCodes / 32; ++g) {
      __m256i bytes[8];
      load_columns(tile + w * kTileStride + part * kLaneCodes + 32 * g, bytes);
      auto* to = reinterpret_cast<uint32_t*>(slices + 64 * w) + g;
      for (int b = 0; b < 8; ++b)
        for (int s = 7; s >= 0; --s) {
          const auto bits = static_cast<uint32_t>(_mm256_movemask_epi8(bytes[b]));
          __builtin_memcpy(to + (8 * b + s) * (sizeof(Lanes) / 4), &bits, sizeof bits);
          bytes[b] = _mm256_add_epi8(bytes[b], bytes[b]);
        }
    }
}

}  // namespace

const uint64_t* load_sliced_avx2(const uint8_t* codes, int64_t count, int64_t bytes, uint64_t* scratch) {
  return load_parts(codes, count, bytes, scratch);
}

int64_t scan_sliced_avx2(const QueryGroup& queries, const Block& block, uint16_t* near, uint64_t* masks) {
  return scan_sliced(queries, block, near, masks);
}

}  // namespace fasthash
