// Counts distances without touching a counter for each pair: the 512 distances of a tile are turned into bit slices
// (vector s holds bit s of all of them), each value's items are then one AND of slices, and their number one popcount.
#include "cpu/avx512.h"
#include "cpu/hamming_histogram_kernels.h"

namespace fasthash {
namespace {

constexpr int kLow = 8;                             // values of a distance's three low bits
constexpr int kHigh = (kSlicedBits + kLow) / kLow;  // and of the five above them

// The items of a run by the low and by the high bits of their distance to one query, bit j of 512 for item j of a tile.
struct Slices {
  __m512i low[kRunTiles][kLow];
  __m512i high[kHigh][kRunTiles];
  __m512i relevant[kRunTiles];
};

// slices[s], 64-bit lane g, bit j = bit s of distance 64 g + j.
inline void slice(const uint16_t* distance, __m512i* slices) {
  alignas(64) static constexpr uint64_t kUnit[8] = {0x8040201008040201, 0x8040201008040201, 0x8040201008040201,
                                                    0x8040201008040201, 0x8040201008040201, 0x8040201008040201,
                                                    0x8040201008040201, 0x8040201008040201};
  alignas(64) uint8_t reversed[64], gather[64];
  for (int i = 0; i < 8; ++i)
    for (int r = 0; r < 8; ++r) {
      reversed[8 * i + r] =
          static_cast<uint8_t>(2 * (8 * i + 7 - r));  // low bytes, the order that GF2P8AFFINEQB turns round
      gather[8 * r + i] = static_cast<uint8_t>(8 * i + r);
    }
  const __m512i unit = _mm512_load_si512(kUnit);
  const __m512i order = _mm512_load_si512(reversed), columns = _mm512_load_si512(gather);
  __m512i z[8];
  for (int g = 0; g < 8; ++g) {
    const __m512i first = _mm512_load_si512(distance + 64 * g), second = _mm512_load_si512(distance + 64 * g + 32);
    const __m512i bytes = _mm512_permutex2var_epi8(first, order, second);
    z[g] = _mm512_permutexvar_epi8(columns, _mm512_gf2p8affine_epi64_epi8(unit, bytes, 0));  // lane s: bit s of 64
  }
  __m512i pairs[8], quads[8];
  for (int g = 0; g < 8; g += 2) {  // 8 x 8 transposition of 64-bit lanes
    pairs[g] = _mm512_unpacklo_epi64(z[g], z[g + 1]);
    pairs[g + 1] = _mm512_unpackhi_epi64(z[g], z[g + 1]);
  }
  for (int odd = 0; odd < 2; ++odd)
    for (int half = 0; half < 2; ++half) {
      const __m512i a = pairs[4 * half + odd], b = pairs[4 * half + 2 + odd];
      quads[4 * odd + half] = _mm512_shuffle_i64x2(a, b, 0x88);      // slices 0 + odd and 4 + odd
      quads[4 * odd + 2 + half] = _mm512_shuffle_i64x2(a, b, 0xdd);  // slices 2 + odd and 6 + odd
    }
  for (int odd = 0; odd < 2; ++odd)
    for (int two = 0; two < 2; ++two) {
      const __m512i a = quads[4 * odd + 2 * two], b = quads[4 * odd + 2 * two + 1];
      slices[2 * two + odd] = _mm512_shuffle_i64x2(a, b, 0x88);
      slices[4 + 2 * two + odd] = _mm512_shuffle_i64x2(a, b, 0xdd);
    }
}

// out[v] = lanes where (a, b, c) spell the number v, for v = 0 .. 7.
inline void minterms(__m512i a, __m512i b, __m512i c, __m512i* out) {
  out[0] = _mm512_ternarylogic_epi64(a, b, c, 0x01);
  out[1] = _mm512_ternarylogic_epi64(a, b, c, 0x02);
  out[2] = _mm512_ternarylogic_epi64(a, b, c, 0x04);
  out[3] = _mm512_ternarylogic_epi64(a, b, c, 0x08);
  out[4] = _mm512_ternarylogic_epi64(a, b, c, 0x10);
  out[5] = _mm512_ternarylogic_epi64(a, b, c, 0x20);
  out[6] = _mm512_ternarylogic_epi64(a, b, c, 0x40);
  out[7] = _mm512_ternarylogic_epi64(a, b, c, 0x80);
}

void slice_run(const Run& run, int q, TileDistances distances, int groups, Slices* out) {
  alignas(64) uint16_t distance[kTileCodes];
  for (int t = 0; t < tile_count(run); ++t) {
    distances(run.queries + q * run.words, tile_of(run, t), run.words, distance);
    __m512i s[8], middle[8], top[8];
    slice(distance, s);
    minterms(s[2], s[1], s[0], out->low[t]);
    minterms(s[5], s[4], s[3], middle);
    alignas(64) uint64_t exist[kTileCodes / 64];
    first_bits(items_of(run, t), exist);
    // The items that exist are those whose third bit is set: minterms 1, 3, 5, 7.
    minterms(s[7], s[6], _mm512_load_si512(exist), top);
    for (int g = 0; g < groups; ++g) out->high[g][t] = _mm512_and_si512(middle[g % 8], top[g / 8 * 2 + 1]);
    out->relevant[t] = _mm512_load_si512(run.relevant + q * kRunWords + t * (kTileCodes / 64));
  }
}

// Lane i of the result = sum of the lanes of v[i].
inline __m512i sum_each(const __m512i* v) {
  __m512i pairs[4], quads[2];
  for (int i = 0; i < 4; ++i)
    pairs[i] =
        _mm512_add_epi64(_mm512_unpacklo_epi64(v[2 * i], v[2 * i + 1]), _mm512_unpackhi_epi64(v[2 * i], v[2 * i + 1]));
  for (int i = 0; i < 2; ++i)
    quads[i] = _mm512_add_epi64(_mm512_shuffle_i64x2(pairs[2 * i], pairs[2 * i + 1], 0x88),
                                _mm512_shuffle_i64x2(pairs[2 * i], pairs[2 * i + 1], 0xdd));
  return _mm512_add_epi64(_mm512_shuffle_i64x2(quads[0], quads[1], 0x88),
                          _mm512_shuffle_i64x2(quads[0], quads[1], 0xdd));
}

inline void add_to(uint32_t* bins, __m512i sums) {
  __m256i* at = reinterpret_cast<__m256i*>(bins);
  _mm256_store_si256(at, _mm256_add_epi32(_mm256_load_si256(at), _mm512_cvtepi64_epi32(sums)));
}

// The eight distances 8 group .. 8 group + 7, all tiles of the run.
void count_group(const Slices& slices, int group, int tiles, int stride, uint32_t* bins) {
  __m512i others[kLow], relevant[kLow];
  for (int l = 0; l < kLow; ++l) others[l] = relevant[l] = _mm512_setzero_si512();
  bool any = false;
  for (int t = 0; t < tiles; ++t) {
    const __m512i high = slices.high[group][t];
    if (_mm512_test_epi64_mask(high, high) == 0) continue;  // most distances are far from most queries
    any = true;
    const __m512i hit = _mm512_and_si512(high, slices.relevant[t]);
    const __m512i miss = _mm512_andnot_si512(slices.relevant[t], high);
    for (int l = 0; l < kLow; ++l) {
      const __m512i low = slices.low[t][l];
      others[l] = _mm512_add_epi64(others[l], _mm512_popcnt_epi64(_mm512_and_si512(miss, low)));
      relevant[l] = _mm512_add_epi64(relevant[l], _mm512_popcnt_epi64(_mm512_and_si512(hit, low)));
    }
  }
  if (!any) return;
  add_to(bins + group * kLow, sum_each(others));
  add_to(bins + stride + group * kLow, sum_each(relevant));
}

}  // namespace

void count_run_avx512(const Run& run, Isa isa, int bits, uint32_t* bins) {
  const TileDistances distances = tile_distances(isa);
  const int groups = bits / kLow + 1, stride = bin_stride(bits);
  Slices slices;
  for (int q = 0; q < run.count; ++q) {
    slice_run(run, q, distances, groups, &slices);
    for (int g = 0; g < groups; ++g) count_group(slices, g, tile_count(run), stride, bins + int64_t{q} * 2 * stride);
  }
}

void add_precisions_avx512(const uint64_t* ranks, int64_t groups, double* lanes) {
  const __m512i low = _mm512_set1_epi64(0xffffffff);
  __m512d sums = _mm512_loadu_pd(lanes);
  for (int64_t g = 0; g < groups; ++g) {
    const __m512i counter = _mm512_loadu_si512(ranks + g * kLanes);
    const __m512d relevant = _mm512_cvtepu64_pd(_mm512_srli_epi64(counter, 32));
    const __m512d rank = _mm512_cvtepu64_pd(_mm512_and_si512(counter, low));
    sums = _mm512_add_pd(sums, _mm512_div_pd(relevant, rank));
  }
  _mm512_storeu_pd(lanes, sums);
}

}  // namespace fasthash
