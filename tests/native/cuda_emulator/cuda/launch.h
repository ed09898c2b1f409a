// Stands in for csrc/cuda/launch.h: runs the kernel at once, on the CPU.
#pragma once

#include <cuda_runtime.h>

namespace fasthash {

constexpr size_t kSharedWords = 64 * 1024;
alignas(16) inline uint32_t shared_words[kSharedWords];

inline void check_cuda(cudaError_t, const char*) {}

struct Device {
  int capability, multiprocessors;
};
inline Device current_device() { return {90, 3}; }

template <typename... Params>
int resident_blocks(const char*, void (*)(Params...), int, size_t) {
  return 2 * current_device().multiprocessors;
}

template <typename... Params, typename... Args>
void launch(const char*, void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t,
            Args... args) {
  std::vector<dim3> blocks;
  for (unsigned y = 0; y < grid.y; ++y)
    for (unsigned x = 0; x < grid.x; ++x) blocks.emplace_back(x, y);
  std::shuffle(blocks.begin(), blocks.end(), std::mt19937(static_cast<unsigned>(blocks.size())));
  emulator::grid = grid;
  static const std::vector<uint8_t> garbage(sizeof shared_words, 0xa5);
  auto* bytes = reinterpret_cast<uint8_t*>(shared_words);
  const size_t beyond = sizeof shared_words - shared_bytes;
  std::memset(bytes, 0xa5, sizeof shared_words);
  for (const dim3 index : blocks) {
    std::memset(bytes, 0xa5, shared_bytes);
    emulator::run_block(index, block, [&] { kernel(static_cast<Params>(args)...); });
    if (std::memcmp(bytes + shared_bytes, garbage.data(), beyond) != 0)
      emulator::fail("a write beyond the shared memory asked for");
  }
}

}  // namespace fasthash
