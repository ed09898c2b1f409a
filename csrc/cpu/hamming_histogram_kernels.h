// The instruction-set variants behind hamming_histogram.h, and what they are given.
//
// Functions defined here are static: files of different instruction sets include this, and a shared inline function
// could be linked in the form of the widest.
#pragma once

#include <cstdint>

#include "cpu/hamming_tile.h"

namespace fasthash {

constexpr int kRunTiles = 8;                                // at most
constexpr int64_t kRunWords = kRunTiles * kTileCodes / 64;  // words of one query's bitmap over a run

// A block of queries and the part of the database that they meet now.
struct Run {
  const uint64_t* queries;   // [count, words]
  const uint64_t* tiles;     // [ceil(items / kTileCodes), words * kTileStride]
  const uint64_t* relevant;  // [count, kRunWords] bit j % 64 of word j / 64: the run's item j is relevant; rest zero
  int count;                 // queries
  int words;                 // of a code
  int64_t items;
  int64_t first;  // database index of the first item
};

static inline int tile_count(const Run& run) { return static_cast<int>((run.items + kTileCodes - 1) / kTileCodes); }

static inline const uint64_t* tile_of(const Run& run, int t) { return run.tiles + t * (run.words * kTileStride); }

static inline int64_t items_of(const Run& run, int t) {
  const int64_t left = run.items - t * kTileCodes;
  return left < kTileCodes ? left : kTileCodes;
}

// Counters of one query: [2][stride], first of the items that are not relevant, then of those that are, by distance.
static inline int bin_stride(int bits) { return (bits + 8) / 8 * 8; }

// bins: [run.count, 2, stride], 64-byte aligned; adds the run's items.
using CountRun = void (*)(const Run& run, Isa isa, int bits, uint32_t* bins);
CountRun count_run(Isa isa, int bits);

// lanes[i] += high half / low half of ranks[8 g + i], for g = 0 .. groups - 1 in this order.
constexpr int kLanes = 8;
using AddPrecisions = void (*)(const uint64_t* ranks, int64_t groups, double* lanes);
AddPrecisions add_precisions(Isa isa);

#if defined(__x86_64__)
constexpr int kSlicedBits = 255;  // a distance must fit a byte
void count_run_avx512(const Run& run, Isa isa, int bits, uint32_t* bins);
void add_precisions_avx2(const uint64_t* ranks, int64_t groups, double* lanes);
void add_precisions_avx512(const uint64_t* ranks, int64_t groups, double* lanes);
#endif

}  // namespace fasthash
