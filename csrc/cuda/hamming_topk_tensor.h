// What the scans on the tensor cores share. Both multiply [~a, a] with [b, ~b]: popc(~a & b) + popc(a & ~b) is the
// distance. Bits that neither code has, the padding to whole words, are zero in a and in b and so add nothing.
#pragma once

#include <algorithm>

#include "cuda/hamming_topk_device.h"
#include "cuda/launch.h"

namespace fasthash {

alignas(16) extern __shared__ uint32_t shared_words[];

// 128 bits of every code, 256 with the complement: what one product takes.
__host__ __device__ inline int slices_of(int bytes) { return (bytes + 15) / 16; }

// The bits of a code's last word, wherever its last byte lies in it, that count.
__device__ inline uint32_t last_bits(const Codes& codes) {
  return ~(((1u << (-codes.bits & 7)) - 1) << (8 * ((codes.bytes - 1) % 4)));
}

// 32 bits of a code, zero beyond its end. Word: uint32_t where all codes are aligned, otherwise uint8_t.
template <typename Word>
__device__ inline uint32_t code_word(const uint8_t* code, int w, int bytes, uint32_t last) {
  if (4 * w >= bytes) return 0;
  uint32_t word = 0;
  if (sizeof(Word) == 4) {
    word = reinterpret_cast<const uint32_t*>(code)[w];
  } else {
#pragma unroll 1  // four loads at a time for each of the lane's words are more registers than there are
    for (int i = min(bytes - 4 * w, 4); i > 0; --i) word = word << 8 | code[4 * w + i - 1];
  }
  return 4 * w + 4 >= bytes ? word & last : word;
}

// A lane's share of a query's row: bit i of hits is the code id(i). Rare, so the distance is computed again here: to
// pick it from the accumulators would cost the registers that keep a second block on the multiprocessor.
template <typename Word, typename Id>
__device__ inline void append_row(const Codes& codes, const Survivors& to, int q, unsigned hits, Id id) {
  unsigned kept = 0;
  for (unsigned left = hits; left != 0; left &= left - 1) {
    const int64_t j = id(__ffs(static_cast<int>(left)) - 1);
    if (j < codes.nb && allowed(codes.allow, j)) kept |= left & -left;
  }
  if (kept == 0) return;
  unsigned long long slot = reserve(to, q, __popc(kept));
  for (; kept != 0; kept &= kept - 1) {
    const int64_t j = id(__ffs(static_cast<int>(kept)) - 1);
    store_key(to, q, slot++, distance_again<Word>(codes, q, j), j);
  }
}

// Where a warp or block is: 128 bits of some codes, then the next 128 of them, then the same of the next codes of the
// tile, then of the next tile that is its own.
struct Walk {
  int64_t tile, code;
  int slice;
};

struct Way {
  Part part;
  int slices, offset, step;  // its first code in every tile, codes from one to the next
  int64_t stride;            // tiles

  __device__ Walk start(int64_t tile) const { return {tile, part.tile(tile) * kTile + offset, 0}; }
  __device__ bool has(const Walk& at) const { return at.tile < part.tiles; }
  __device__ bool ends_codes(const Walk& at) const { return at.slice + 1 == slices; }
  __device__ void advance(Walk& at) const {
    if (++at.slice < slices) return;
    at.slice = 0;
    at.code += step;
    if ((at.code - offset) % kTile != 0) return;
    at = start(at.tile + stride);
  }
};

// As many blocks for each group of `rows` queries as are resident at a time: each walks every nth tile, n being their
// number.
using ScanKernel = void (*)(Codes codes, Part part, Survivors to);
inline void launch_rounds(const char* name, ScanKernel kernel, int rows, int threads, size_t shared,
                          cudaStream_t stream, const Codes& codes, const Part& part, const Survivors& to) {
  const int64_t groups = ceil_div(codes.nq, rows), most = resident_blocks(name, kernel, threads, shared);
  const int64_t rounds = std::clamp<int64_t>(most / groups, 1, part.tiles);
  launch(name, kernel, static_cast<unsigned>(rounds * groups), threads, shared, stream, codes, part, to);
}

// Calls run(Word{}) with the widest word of code_word.
template <typename Run>
void with_code_word(const Codes& codes, Run run) {
  if (aligned(codes.queries, codes.bytes, 4) && aligned(codes.database, codes.bytes, 4))
    run(uint32_t{});
  else
    run(uint8_t{});
}

}  // namespace fasthash
