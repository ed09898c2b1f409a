// Words of row-major codes, eight codes to a vector. Included inside the anonymous namespace of AVX-512 files.

// out[i] lane j = in[j] lane i, 64-bit lanes.
inline void transpose_8(__m512i* rows) {
  __m512i pairs[8], quads[8];
  for (int g = 0; g < 8; g += 2) {
    pairs[g] = _mm512_unpacklo_epi64(rows[g], rows[g + 1]);
    pairs[g + 1] = _mm512_unpackhi_epi64(rows[g], rows[g + 1]);
  }
  for (int odd = 0; odd < 2; ++odd)
    for (int half = 0; half < 2; ++half) {
      const __m512i a = pairs[4 * half + odd], b = pairs[4 * half + 2 + odd];
      quads[4 * odd + half] = _mm512_shuffle_i64x2(a, b, 0x88);      // lanes 0 + odd and 4 + odd
      quads[4 * odd + 2 + half] = _mm512_shuffle_i64x2(a, b, 0xdd);  // lanes 2 + odd and 6 + odd
    }
  for (int odd = 0; odd < 2; ++odd)
    for (int two = 0; two < 2; ++two) {
      const __m512i a = quads[4 * odd + 2 * two], b = quads[4 * odd + 2 * two + 1];
      rows[2 * two + odd] = _mm512_shuffle_i64x2(a, b, 0x88);
      rows[4 + 2 * two + odd] = _mm512_shuffle_i64x2(a, b, 0xdd);
    }
}

// Eight codes of kWords whole words: out[w] lane c = word w of code c.
template <int kWords>
inline void load_eight(const uint8_t* codes, __m512i* out) {
  static_assert(kWords == 1 || kWords == 2 || kWords == 4 || kWords == 8, "a power of two up to a cache line");
  __m512i in[8];
  for (int v = 0; v < kWords; ++v) in[v] = _mm512_loadu_si512(codes + 64 * v);
  if constexpr (kWords == 1) {
    out[0] = in[0];
  } else if constexpr (kWords == 2) {
    out[0] = _mm512_permutex2var_epi64(in[0], _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0), in[1]);
    out[1] = _mm512_permutex2var_epi64(in[0], _mm512_set_epi64(15, 13, 11, 9, 7, 5, 3, 1), in[1]);
  } else if constexpr (kWords == 4) {
    const __m512i low = _mm512_set_epi64(13, 9, 5, 1, 12, 8, 4, 0), high = _mm512_set_epi64(15, 11, 7, 3, 14, 10, 6, 2);
    const __m512i words01[2] = {_mm512_permutex2var_epi64(in[0], low, in[1]),
                                _mm512_permutex2var_epi64(in[2], low, in[3])};
    const __m512i words23[2] = {_mm512_permutex2var_epi64(in[0], high, in[1]),
                                _mm512_permutex2var_epi64(in[2], high, in[3])};
    out[0] = _mm512_shuffle_i64x2(words01[0], words01[1], 0x44);
    out[1] = _mm512_shuffle_i64x2(words01[0], words01[1], 0xee);
    out[2] = _mm512_shuffle_i64x2(words23[0], words23[1], 0x44);
    out[3] = _mm512_shuffle_i64x2(words23[0], words23[1], 0xee);
  } else {
    transpose_8(in);
    for (int w = 0; w < 8; ++w) out[w] = in[w];
  }
}
