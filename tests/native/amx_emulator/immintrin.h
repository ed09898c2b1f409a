// The tile intrinsics of AMX in software, for processors without it: found before the compiler's own header, so that
// the kernels are compiled unchanged. As strict as the instructions (Intel's manual, TDPBF16PS and LDTILECFG) and
// stricter where a mistake would pass unseen: what they fault on, or what was never loaded, ends the program with one
// line.
#pragma once
#include_next <immintrin.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbf16ps
#define _tile_loadconfig amx_emulator::load_config
#define _tile_release amx_emulator::release
#define _tile_loadd amx_emulator::load
#define _tile_stored amx_emulator::store
#define _tile_zero amx_emulator::zero
#define _tile_dpbf16ps amx_emulator::multiply

namespace amx_emulator {

struct Tile {
  int rows = 0, bytes = 0;
  bool written = false;
  unsigned char data[16][64];
};

inline thread_local Tile tiles[8];
inline thread_local bool configured = false;
inline thread_local long products = 0;
inline float fault = 1.0f;  // factor of every product: what a broken unit would do

inline void require(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "AMX emulator: %s\n", what);
  std::abort();
}

inline Tile& tile(int index) {
  require(configured, "a tile instruction without a configuration");
  require(index >= 0 && index < 8 && tiles[index].rows > 0, "a tile that is not configured");
  return tiles[index];
}

inline void load_config(const void* from) {
  unsigned char bytes[64];
  std::memcpy(bytes, from, 64);
  require(bytes[0] == 1, "palette is not 1");
  for (int i = 1; i < 16; ++i) require(bytes[i] == 0, "start row or reserved bytes are not 0");
  for (int t = 0; t < 16; ++t) {
    const int row_bytes = bytes[16 + 2 * t] | bytes[17 + 2 * t] << 8, rows = bytes[48 + t];
    require(t < 8 || (row_bytes == 0 && rows == 0), "palette 1 has eight tiles");
    require(row_bytes <= 64 && rows <= 16 && (row_bytes == 0) == (rows == 0), "rows or bytes of a row");
    if (t < 8) {
      tiles[t] = Tile{};
      tiles[t].rows = rows;
      tiles[t].bytes = row_bytes;
    }
  }
  configured = true;
}

inline void release() { configured = false; }

inline void load(int index, const void* from, long stride) {
  Tile& to = tile(index);
  require(stride >= to.bytes, "rows of a loaded tile overlap");
  for (int r = 0; r < to.rows; ++r) std::memcpy(to.data[r], static_cast<const char*>(from) + r * stride, to.bytes);
  to.written = true;
}

inline void store(int index, void* out, long stride) {
  const Tile& from = tile(index);
  require(from.written, "a stored tile holds nothing");
  require(stride >= from.bytes, "rows of a stored tile overlap");
  for (int r = 0; r < from.rows; ++r) std::memcpy(static_cast<char*>(out) + r * stride, from.data[r], from.bytes);
}

inline void zero(int index) {
  Tile& to = tile(index);
  std::memset(to.data, 0, sizeof to.data);
  to.written = true;
}

inline float flushed(float x) { return __builtin_fabsf(x) < 1.17549435e-38f ? __builtin_copysignf(0.0f, x) : x; }

inline float bf16(const unsigned char* from) {
  const uint32_t bits = static_cast<uint32_t>(from[0]) << 16 | static_cast<uint32_t>(from[1]) << 24;
  float x;
  std::memcpy(&x, &bits, 4);
  return flushed(x);
}

// c += a b: even and odd elements of the pairs are summed apart, then together, then added
inline void multiply(int c_index, int a_index, int b_index) {
  require(c_index != a_index && c_index != b_index && a_index != b_index, "operands of a product share a tile");
  Tile& c = tile(c_index);
  const Tile &a = tile(a_index), &b = tile(b_index);
  require(c.written && a.written && b.written, "a factor or the sum of a product holds nothing");
  require(a.bytes % 4 == 0 && b.bytes % 4 == 0 && c.bytes % 4 == 0, "rows are not whole pairs");
  require(c.rows == a.rows && c.bytes == b.bytes && a.bytes / 4 == b.rows, "shapes of a product disagree");
  for (int m = 0; m < c.rows; ++m) {
    for (int n = 0; n < c.bytes / 4; ++n) {
      float even = 0, odd = 0, sum;
      for (int k = 0; k < a.bytes / 4; ++k) {
        even = flushed(__builtin_fmaf(bf16(&a.data[m][4 * k]), bf16(&b.data[k][4 * n]), even));
        odd = flushed(__builtin_fmaf(bf16(&a.data[m][4 * k + 2]), bf16(&b.data[k][4 * n + 2]), odd));
      }
      std::memcpy(&sum, &c.data[m][4 * n], 4);
      sum = flushed(flushed(sum) + fault * flushed(even + odd));
      std::memcpy(&c.data[m][4 * n], &sum, 4);
    }
  }
  ++products;
}

}  // namespace amx_emulator
