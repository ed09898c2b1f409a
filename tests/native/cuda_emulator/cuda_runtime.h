// Just enough of CUDA to run a kernel on the CPU, one fibre a thread, so that its logic can be tested without a GPU.
// Blocks run one after the other in a shuffled order, shared memory starts as garbage, and a write beyond the
// shared memory asked for, or lanes that wait for each other in vain, ends the process.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#define __global__ static
#define __device__
#define __host__
#define __shared__
#define __launch_bounds__(...)

using std::max;
using std::min;

using cudaStream_t = void*;
using cudaError_t = int;
constexpr cudaError_t cudaSuccess = 0;

inline cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t) {
  std::memset(to, value, bytes);
  return cudaSuccess;
}

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

namespace emulator {

constexpr size_t kStack = 64 * 1024;

struct Fibre {
  dim3 index;
  bool done = false;
  bool at_block_barrier = false;
  unsigned mask = 0;        // of the warp function it waits in; 0: none
  int64_t value = 0;        // what it brings to that function
  int64_t values[32] = {};  // what all lanes brought
};

struct Block {
  dim3 index, size;
  std::vector<Fibre> fibres;
  Fibre* running = nullptr;
  std::function<void()> body;
};

inline Block* block = nullptr;

// One a thread, used by every block: it runs the body of the block that is current whenever it is resumed at its end.
struct Stack {
  std::unique_ptr<char[]> memory{new char[kStack]};
  ucontext_t start;
  void* resume[5];
};
inline std::vector<std::unique_ptr<Stack>> stacks;
inline void* scheduler[5];

[[noreturn]] inline void fail(const char* why) {
  std::fprintf(stderr, "CUDA emulator: %s\n", why);
  std::abort();
}

inline int lane() { return static_cast<int>(block->running - block->fibres.data()) % 32; }

// What swapcontext does, without its two system calls. Where a jump leaves from must not be the function it returns to.
[[gnu::noinline]] inline void jump(void** to) { __builtin_longjmp(to, 1); }

[[gnu::noinline]] inline void yield() {
  Stack& mine = *stacks[block->running->index.x];
  if (__builtin_setjmp(mine.resume) == 0) jump(scheduler);
}

inline void run_fibre() {
  while (true) {
    block->body();
    block->running->done = true;
    yield();
  }
}

[[gnu::noinline]] inline void resume(Stack& stack, bool started) {
  if (__builtin_setjmp(scheduler) != 0) return;
  if (started) jump(stack.resume);
  setcontext(&stack.start);
}

// Every lane of the mask brings a value and leaves with those of all; the last one to come calls `all` before.
template <typename All>
const int64_t* exchange(unsigned mask, int64_t value, All all) {
  Fibre* self = block->running;
  if ((mask >> lane() & 1) == 0) fail("a lane calls a warp function with a mask that leaves it out");
  self->mask = mask;
  self->value = value;
  Fibre* warp = self - lane();
  for (int i = 0; i < 32; ++i) {
    if ((mask >> i & 1) == 0) continue;
    if (warp + i >= block->fibres.data() + block->fibres.size() || warp[i].done)
      fail("a lane of the mask has returned");
    if (warp[i].mask == mask) continue;
    while (self->mask != 0) yield();  // it is elsewhere: the last one to come wakes the others
    return self->values;
  }
  all(warp);
  for (int to = 0; to < 32; ++to) {
    if ((mask >> to & 1) == 0) continue;
    for (int from = 0; from < 32; ++from)
      if (mask >> from & 1) warp[to].values[from] = warp[from].value;
    warp[to].mask = 0;
  }
  return self->values;
}

inline const int64_t* exchange(unsigned mask, int64_t value) {
  return exchange(mask, value, [](const Fibre*) {});
}

inline void run_block(dim3 index, dim3 size, const std::function<void()>& body) {
  Block here;
  here.index = index;
  here.size = size;
  here.body = body;
  here.fibres = std::vector<Fibre>(size.x);
  block = &here;
  const size_t started = stacks.size();  // by earlier blocks
  for (unsigned t = 0; t < size.x; ++t) {
    here.fibres[t].index = dim3(t, 0, 0);
    if (t < started) continue;
    stacks.emplace_back(new Stack);
    Stack& stack = *stacks.back();
    getcontext(&stack.start);
    stack.start.uc_stack.ss_sp = stack.memory.get();
    stack.start.uc_stack.ss_size = kStack;
    makecontext(&stack.start, run_fibre, 0);
  }
  std::vector<bool> entered(size.x);
  for (size_t done = 0; done < here.fibres.size();) {
    bool moved = false;
    for (auto& fibre : here.fibres) {
      if (fibre.done || fibre.mask != 0 || fibre.at_block_barrier) continue;
      here.running = &fibre;
      const unsigned t = fibre.index.x;
      resume(*stacks[t], t < started || entered[t]);
      entered[t] = true;
      moved = true;
      done += fibre.done;
    }
    if (moved) continue;
    for (auto& fibre : here.fibres) {
      if (!fibre.done && !fibre.at_block_barrier) fail("deadlock: lanes wait for others that are elsewhere");
      fibre.at_block_barrier = false;
    }
  }
  block = nullptr;
}

template <typename T>
int64_t to_bits(T value) {
  int64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}

template <typename T>
T from_bits(int64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace emulator

#define threadIdx (emulator::block->running->index)
#define blockIdx (emulator::block->index)
#define gridDim (emulator::grid)
#define blockDim (emulator::block->size)
namespace emulator {
inline dim3 grid;
}

inline void __syncthreads() {
  emulator::block->running->at_block_barrier = true;
  emulator::yield();
}

inline void __syncwarp(unsigned mask = 0xffffffffu) { emulator::exchange(mask, 0); }

inline unsigned __ballot_sync(unsigned mask, bool predicate) {
  const int64_t* values = emulator::exchange(mask, predicate);
  unsigned result = 0;
  for (int i = 0; i < 32; ++i)
    if ((mask >> i & 1) && values[i] != 0) result |= 1u << i;
  return result;
}

template <typename T>
unsigned __match_any_sync(unsigned mask, T value) {
  const int64_t mine = emulator::to_bits(value);
  const int64_t* values = emulator::exchange(mask, mine);
  unsigned result = 0;
  for (int i = 0; i < 32; ++i)
    if ((mask >> i & 1) && values[i] == mine) result |= 1u << i;
  return result;
}

template <typename T>
T __shfl_sync(unsigned mask, T value, int from) {
  return emulator::from_bits<T>(emulator::exchange(mask, emulator::to_bits(value))[from]);
}

template <typename T>
T __shfl_up_sync(unsigned mask, T value, int by) {
  const int from = emulator::lane() - by;
  const int64_t* values = emulator::exchange(mask, emulator::to_bits(value));
  return from < 0 ? value : emulator::from_bits<T>(values[from]);
}

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int by) {
  return emulator::from_bits<T>(emulator::exchange(mask, emulator::to_bits(value))[emulator::lane() ^ by]);
}

inline bool __any_sync(unsigned mask, bool predicate) { return __ballot_sync(mask, predicate) != 0; }

template <typename T>
T atomicAdd(T* at, T value) {
  const T before = *at;
  *at += value;
  return before;
}

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
