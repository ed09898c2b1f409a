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

// Words of eight codes that lie in kWords vectors one after the other: out[w] lane c = word w of code c.
template <int kWords>
inline void deal_words(const __m512i* in, __m512i* out) {
  static_assert(kWords == 1 || kWords == 2 || kWords == 4, "a power of two");
  if constexpr (kWords == 1) {
    out[0] = in[0];
  } else if constexpr (kWords == 2) {
    out[0] = _mm512_permutex2var_epi64(in[0], _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0), in[1]);
    out[1] = _mm512_permutex2var_epi64(in[0], _mm512_set_epi64(15, 13, 11, 9, 7, 5, 3, 1), in[1]);
  } else {
    const __m512i low = _mm512_set_epi64(13, 9, 5, 1, 12, 8, 4, 0), high = _mm512_set_epi64(15, 11, 7, 3, 14, 10, 6, 2);
    const __m512i words01[2] = {_mm512_permutex2var_epi64(in[0], low, in[1]),
                                _mm512_permutex2var_epi64(in[2], low, in[3])};
    const __m512i words23[2] = {_mm512_permutex2var_epi64(in[0], high, in[1]),
                                _mm512_permutex2var_epi64(in[2], high, in[3])};
    out[0] = _mm512_shuffle_i64x2(words01[0], words01[1], 0x44);
    out[1] = _mm512_shuffle_i64x2(words01[0], words01[1], 0xee);
    out[2] = _mm512_shuffle_i64x2(words23[0], words23[1], 0x44);
    out[3] = _mm512_shuffle_i64x2(words23[0], words23[1], 0xee);
  }
}

// The same of eight row-major codes of kWords whole words.
template <int kWords>
inline void load_eight(const uint8_t* codes, __m512i* out) {
  __m512i in[kWords];
  for (int v = 0; v < kWords; ++v) in[v] = _mm512_loadu_si512(codes + 64 * v);
  deal_words<kWords>(in, out);
}

// And of four words of each of eight codes that are `stride` bytes apart.
inline void load_eight_fours(const uint8_t* codes, int64_t stride, __m512i* out) {
  __m512i in[4];
  for (int v = 0; v < 4; ++v) {
    const auto* even = reinterpret_cast<const __m256i*>(codes + 2 * v * stride);
    const auto* odd = reinterpret_cast<const __m256i*>(codes + (2 * v + 1) * stride);
    in[v] = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256(even)), _mm256_loadu_si256(odd), 1);
  }
  deal_words<4>(in, out);
}
