// Kernel launches that are checked, each by name. Plain function calls, so the kernels also compile as ordinary C++.
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>

namespace fasthash {

inline void check_cuda(cudaError_t status, const char* what) {
  if (status != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(status));
}

struct Device {
  int capability;  // 10 * major + minor
  int multiprocessors;
};

inline Device current_device() {
  int device = 0, major = 0, minor = 0, multiprocessors = 0;
  check_cuda(cudaGetDevice(&device), "cudaGetDevice");
  const auto read = [device](int* to, cudaDeviceAttr what) {
    check_cuda(cudaDeviceGetAttribute(to, what, device), "cudaDeviceGetAttribute");
  };
  read(&major, cudaDevAttrComputeCapabilityMajor);
  read(&minor, cudaDevAttrComputeCapabilityMinor);
  read(&multiprocessors, cudaDevAttrMultiProcessorCount);
  return {10 * major + minor, multiprocessors};
}

constexpr size_t kDefaultShared = 48 * 1024;  // bytes of a block; more must be asked for

// Always all that the device has: a thread that asked for just its own launch could take it from another's.
inline void allow_shared(const char* name, const void* kernel, size_t shared_bytes) {
  if (shared_bytes <= kDefaultShared) return;
  int device = 0, most = 0;
  check_cuda(cudaGetDevice(&device), "cudaGetDevice");
  check_cuda(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), "cudaDeviceGetAttribute");
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most), name);
}

// How many blocks the device runs at the same time.
template <typename... Params>
int resident_blocks(const char* name, void (*kernel)(Params...), int threads, size_t shared_bytes) {
  int blocks = 0;
  allow_shared(name, reinterpret_cast<const void*>(kernel), shared_bytes);
  check_cuda(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, reinterpret_cast<const void*>(kernel), threads,
                                                           shared_bytes),
             name);
  return blocks * current_device().multiprocessors;
}

template <typename... Params, typename... Args>
void launch(const char* name, void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes,
            cudaStream_t stream, Args... args) {
  allow_shared(name, reinterpret_cast<const void*>(kernel), shared_bytes);
  std::tuple<Params...> values(args...);
  std::apply(
      [&](auto&... value) {
        void* addresses[] = {&value...};
        check_cuda(
            cudaLaunchKernel(reinterpret_cast<const void*>(kernel), grid, block, addresses, shared_bytes, stream),
            name);
      },
      values);
}

}  // namespace fasthash
