// The one place where Hamming distances are computed on the CPU: search, range search and evaluation all stand on it.
//
// A tile holds kTileCodes codes word-major, tile[w * kTileCodes + j] being word w of code j, missing codes and bytes
// zero, so every kernel runs without masks whatever the code length, count or alignment of the source.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace fasthash {

constexpr int64_t kTileCodes = 512;

inline int words_of(int64_t bytes) { return static_cast<int>((bytes + 7) / 8); }

// tile: [words_of(bytes) * kTileCodes], 64-byte aligned; codes: [count, bytes] at any alignment, 0 <= count <= kTileCodes.
void load_tile(const uint8_t* codes, int64_t count, int64_t bytes, uint64_t* tile);

// words: [words_of(bytes)]; the last word is zero padded.
void load_query(const uint8_t* code, int64_t bytes, uint64_t* words);

// out[j] = distance of the query to code j of the tile, for all kTileCodes of them; out is 64-byte aligned.
using TileDistances = void (*)(const uint64_t* query, const uint64_t* tile, int words, uint16_t* out);
TileDistances tile_distances(Isa isa);

}  // namespace fasthash
