#include "cpu/hamming_tile.h"

#include <algorithm>
#include <cstring>

#include "cpu/count_bits.h"
#include "cpu/row_words.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace fasthash {
namespace {

constexpr int64_t kLine = 8;      // words of a cache line
constexpr int64_t kAhead = 4096;  // bytes to prefetch: one core alone does not keep the memory busy

// One word of each of kLine codes, `stride` bytes apart.
inline void load_line(const uint8_t* from, int64_t stride, uint64_t* to) {
  for (int64_t j = 0; j < kLine; ++j) to[j] = load_word(from + j * stride);
}

// Two words of each, to[j] and to[kTileStride + j]: half the loads, and twice as fast as word by word.
inline void load_two_lines(const uint8_t* from, int64_t stride, uint64_t* to) {
#if defined(__SSE2__)
  for (int64_t j = 0; j < kLine; j += 2) {
    const __m128i even = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + j * stride));
    const __m128i odd = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + (j + 1) * stride));
    _mm_store_si128(reinterpret_cast<__m128i*>(to + j), _mm_unpacklo_epi64(even, odd));
    _mm_store_si128(reinterpret_cast<__m128i*>(to + kTileStride + j), _mm_unpackhi_epi64(even, odd));
  }
#else
  load_line(from, stride, to);
  load_line(from + 8, stride, to + kTileStride);
#endif
}

// The first `whole` words of n <= kLine codes, n == kLine being the fast path.
void load_words(const uint8_t* from, int64_t n, int64_t stride, int whole, uint64_t* to) {
  if (n == kLine) {
    int w = 0;
    for (; w + 2 <= whole; w += 2) load_two_lines(from + w * 8, stride, to + w * kTileStride);
    if (w < whole) load_line(from + w * 8, stride, to + w * kTileStride);
    return;
  }
  for (int w = 0; w < whole; ++w)
    for (int64_t j = 0; j < n; ++j) to[w * kTileStride + j] = load_word(from + j * stride + w * 8);
}

constexpr int kBlock = 64;  // codes whose distances are held at once

void block_distances(const uint64_t* query, const uint64_t* codes, int words, uint64_t* sums) {
  std::fill(sums, sums + kBlock, 0);
  for (int w = 0; w < words; ++w)
    for (int j = 0; j < kBlock; ++j) sums[j] += count_bits(query[w] ^ codes[w * kTileStride + j]);
}

void tile_distances_scalar(const uint64_t* query, const uint64_t* tile, int words, uint16_t* out) {
  uint64_t sums[kBlock];
  for (int64_t start = 0; start < kTileCodes; start += kBlock) {
    block_distances(query, tile + start, words, sums);
    for (int j = 0; j < kBlock; ++j) out[start + j] = static_cast<uint16_t>(sums[j]);
  }
}

bool tile_near_scalar(const uint64_t* query, const uint64_t* tile, int words, const uint64_t* allow, int limit,
                      uint64_t* mask) {
  const uint64_t bound = static_cast<uint64_t>(limit);
  uint64_t sums[kBlock], found[kTileCodes / kBlock], any = 0;
  for (int block = 0; block < kTileCodes / kBlock; ++block) {
    found[block] = 0;
    block_distances(query, tile + block * kBlock, words, sums);
    uint64_t nearer = 0;
    for (int j = 0; j < kBlock; ++j) nearer |= sums[j] - bound;  // the sign bit is set where a sum is below the bound
    if (nearer >> 63 == 0) continue;
    for (int j = 0; j < kBlock; ++j) found[block] |= (sums[j] - bound) >> 63 << j;
    any |= found[block] &= allow[block];
  }
  if (any != 0) std::copy(found, found + kTileCodes / kBlock, mask);
  return any != 0;
}

// Codes of 1, 2 or 4 bytes.
template <typename Code>
void load_short(const uint8_t* codes, int64_t count, uint64_t* tile) {
  for (int64_t j = 0; j < count; ++j) {
    Code code;
    std::memcpy(&code, codes + j * int64_t{sizeof code}, sizeof code);
    tile[j] = code;
  }
  std::fill(tile + count, tile + kTileCodes, uint64_t{0});
}

}  // namespace

void load_tile(const uint8_t* codes, int64_t count, int64_t bytes, uint64_t* tile) {
  if (bytes == 1) return load_short<uint8_t>(codes, count, tile);
  if (bytes == 2) return load_short<uint16_t>(codes, count, tile);
  if (bytes == 4) return load_short<uint32_t>(codes, count, tile);
  const int whole = static_cast<int>(bytes / 8), tail = static_cast<int>(bytes % 8);
  // Eight codes at a time: every cache line of the tile is then written once and whole.
  for (int64_t start = 0; start < count; start += kLine) {
    const int64_t n = std::min(kLine, count - start);
    const uint8_t* from = codes + start * bytes;
    uint64_t* to = tile + start;
    for (int64_t b = 0; b < kLine * bytes; b += 64) __builtin_prefetch(from + kAhead + b);
    load_words(from, n, bytes, whole, to);
    if (tail == 0) continue;
    for (int64_t j = 0; j < n; ++j) to[whole * kTileStride + j] = load_tail(from + j * bytes, bytes, tail);
  }
  for (int w = 0; w < words_of(bytes); ++w)
    std::fill(tile + w * kTileStride + count, tile + w * kTileStride + kTileCodes, uint64_t{0});
}

void load_query(const uint8_t* code, int64_t bytes, uint64_t* words) {
  const int whole = static_cast<int>(bytes / 8), tail = static_cast<int>(bytes % 8);
  for (int w = 0; w < whole; ++w) words[w] = load_word(code + w * 8);
  if (tail != 0) words[whole] = load_tail(code, bytes, tail);
}

LoadTile tile_loader(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return load_tile_avx512;
#endif
  (void)isa;
  return load_tile;
}

TileDistances tile_distances(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return tile_distances_avx512;
  if (isa == Isa::kAvx2) return tile_distances_avx2;
#elif defined(__aarch64__)
  if (isa == Isa::kNeon) return tile_distances_neon;
#endif
  (void)isa;
  return tile_distances_scalar;
}

TileNear tile_near(Isa isa, int words) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return tile_near_avx512(words);
  if (isa == Isa::kAvx2) return tile_near_avx2(words);
#elif defined(__aarch64__)
  if (isa == Isa::kNeon) return tile_near_neon;
#endif
  (void)isa, (void)words;
  return tile_near_scalar;
}

}  // namespace fasthash
