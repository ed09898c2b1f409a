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

template <typename... Params, typename... Args>
void launch(const char* name, void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes,
            cudaStream_t stream, Args... args) {
  constexpr size_t kDefaultShared = 48 * 1024;  // more must be asked for
  if (shared_bytes > kDefaultShared)
    check_cuda(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(shared_bytes)),
               name);
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
