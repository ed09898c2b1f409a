// What the binding files share: one function per operation adds its names to the module.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>

#include "cpu/run_on_threads.h"

namespace fasthash {

// Addresses arrive as integers: fasthash/_native.py has checked kind, shape, dtype and lifetime.
template <typename T>
T* at(std::uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

// Ctrl-C reaches long work: Python's handlers run here, and what they raise ends it.
inline bool signal_raised() {
  const pybind11::gil_scoped_acquire gil;
  return PyErr_CheckSignals() != 0;
}

void bind_cross_attention(pybind11::module_& m);
// Native work made of run_tasks, without Python's lock; Ctrl-C ends it with what its handler raises.
template <typename Work>
auto interruptible(const Work& work) {
  try {
    const pybind11::gil_scoped_release no_gil;
    const StopWhen asked(signal_raised);
    return work();
  } catch (const Interrupted&) {
    throw pybind11::error_already_set();
  }
}

void bind_hamming(pybind11::module_& m);
void bind_hamming_cuda(pybind11::module_& m);  // defined with FASTHASH_WITH_CUDA alone
void bind_hamming_histogram(pybind11::module_& m);
void bind_joint_semantics(pybind11::module_& m);
void bind_multi_index(pybind11::module_& m);
void bind_pair_loss(pybind11::module_& m);
void bind_proxy_pair(pybind11::module_& m);

}  // namespace fasthash
