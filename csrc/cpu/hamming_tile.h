// The one place where Hamming distances are computed on the CPU: search, range search and evaluation all stand on it.
//
// A tile holds kTileCodes codes word-major, tile[w * kTileCodes + j] being word w of code j, missing codes and bytes
// zero, so every kernel runs without masks whatever the code length, count or alignment of the source.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace fasthash {

constexpr int64_t kTileCodes = 512;

// static, here and below: an inline function in a header could otherwise be linked from a file compiled for AVX-512.
static inline int words_of(int64_t bytes) { return static_cast<int>((bytes + 7) / 8); }

// tile: [words_of(bytes) * kTileCodes], 64-byte aligned; codes: [count, bytes] at any alignment, 0 <= count <=
// kTileCodes.
void load_tile(const uint8_t* codes, int64_t count, int64_t bytes, uint64_t* tile);

// words: [words_of(bytes)]; the last word is zero padded.
void load_query(const uint8_t* code, int64_t bytes, uint64_t* words);

// out[j] = distance of the query to code j of the tile, for all kTileCodes of them; out is 64-byte aligned.
using TileDistances = void (*)(const uint64_t* query, const uint64_t* tile, int words, uint16_t* out);
TileDistances tile_distances(Isa isa);

// A hit as one integer, so that hits compare by (distance, position): distances fit 16 bits, positions 48.
constexpr int kDistanceShift = 48;
static inline int distance_of(uint64_t key) { return static_cast<int>(key >> kDistanceShift); }
static inline int64_t position_of(uint64_t key) {
  return static_cast<int64_t>(key & ((uint64_t{1} << kDistanceShift) - 1));
}
static inline uint64_t key_of(uint64_t distance, int64_t position) {
  return distance << kDistanceShift | static_cast<uint64_t>(position);
}

// Writes the keys of the codes nearer than `limit`, in ascending order of position, and returns how many there are.
//   tile   any tile; of one-word codes, the database itself at 8-byte alignment
//   allow  [kTileCodes / 64] bit j % 64 of word j / 64 says whether code j counts; null: all do
//   first  position of the tile's first code
//   keys   [kTileCodes + kKeySlack]: vector stores may run past the last key
constexpr int kKeySlack = 8;
using TileScan = int (*)(const uint64_t* query, const uint64_t* tile, int words, const uint64_t* allow, int limit,
                         int64_t first, uint64_t* keys);
TileScan tile_scan(Isa isa, int words);

// The same on kTileCodes row-major codes where they lie: for few queries, which do not repay the loading of a tile.
//   query  [8 * words_of(bytes)], zero padded      codes  [kTileCodes, bytes] at any alignment
using RowScan = int (*)(const uint64_t* query, const uint8_t* codes, int64_t bytes, const uint64_t* allow, int limit,
                        int64_t first, uint64_t* keys);
RowScan row_scan(Isa isa, int64_t bytes, int64_t queries);  // null: load a tile

#if defined(__x86_64__)
void tile_distances_avx2(const uint64_t* query, const uint64_t* tile, int words, uint16_t* out);
void tile_distances_avx512(const uint64_t* query, const uint64_t* tile, int words, uint16_t* out);
TileScan tile_scan_avx2(int words);
TileScan tile_scan_avx512(int words);
int row_scan_avx2(const uint64_t* query, const uint8_t* codes, int64_t bytes, const uint64_t* allow, int limit,
                  int64_t first, uint64_t* keys);
int row_scan_avx512(const uint64_t* query, const uint8_t* codes, int64_t bytes, const uint64_t* allow, int limit,
                    int64_t first, uint64_t* keys);
#endif

}  // namespace fasthash
