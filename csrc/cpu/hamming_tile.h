// The one place where Hamming distances are computed on the CPU: search, range search and evaluation all stand on it.
//
// A tile holds kTileCodes codes word-major, tile[w * kTileStride + j] being word w of code j, missing codes and bytes
// zero, so every kernel runs without masks whatever the code length, count or alignment of the source.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace fasthash {

constexpr int64_t kTileCodes = 512;
constexpr int64_t kTileStride = kTileCodes + 8;  // 4 KiB apart, the words of a code would share one set of the cache

// static, here and below: an inline function in a header could otherwise be linked from a file compiled for AVX-512.
static inline int words_of(int64_t bytes) { return static_cast<int>((bytes + 7) / 8); }

// tile: [words_of(bytes) * kTileStride], 64-byte aligned; codes: [count, bytes] at any alignment, 0 <= count <=
// kTileCodes.
using LoadTile = void (*)(const uint8_t* codes, int64_t count, int64_t bytes, uint64_t* tile);
LoadTile tile_loader(Isa isa);
void load_tile(const uint8_t* codes, int64_t count, int64_t bytes, uint64_t* tile);  // on any machine

// words: [words_of(bytes)]; the last word is zero padded.
void load_query(const uint8_t* code, int64_t bytes, uint64_t* words);

// out[j] = distance of the query to code j of the tile, for all kTileCodes of them; out is 64-byte aligned.
using TileDistances = void (*)(const uint64_t* query, const uint64_t* tile, int words, uint16_t* out);
TileDistances tile_distances(Isa isa);

// Bits 0 .. count - 1 of kTileCodes.
static inline void first_bits(int64_t count, uint64_t* mask) {
  for (int64_t w = 0; w < kTileCodes / 64; ++w) {
    const int64_t left = count - 64 * w;
    mask[w] = left >= 64 ? ~uint64_t{0} : left <= 0 ? 0 : (uint64_t{1} << left) - 1;
  }
}

// Writes the mask of the allowed codes nearer than `limit`, bit j % 64 of word j / 64 for code j; false: none is, and
// the mask is not written.
//   tile   any tile; of one-word codes, the database itself at 8-byte alignment
//   allow  [kTileCodes / 64] likewise
using TileNear = bool (*)(const uint64_t* query, const uint64_t* tile, int words, const uint64_t* allow, int limit,
                          uint64_t* mask);
TileNear tile_near(Isa isa, int words);

#if defined(__x86_64__)
void load_tile_avx512(const uint8_t* codes, int64_t count, int64_t bytes, uint64_t* tile);
void tile_distances_avx2(const uint64_t* query, const uint64_t* tile, int words, uint16_t* out);
void tile_distances_avx512(const uint64_t* query, const uint64_t* tile, int words, uint16_t* out);
TileNear tile_near_avx2(int words);
TileNear tile_near_avx512(int words);
#elif defined(__aarch64__)
void tile_distances_neon(const uint64_t* query, const uint64_t* tile, int words, uint16_t* out);
bool tile_near_neon(const uint64_t* query, const uint64_t* tile, int words, const uint64_t* allow, int limit,
                    uint64_t* mask);
#endif

}  // namespace fasthash
