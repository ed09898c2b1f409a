#include "bindings/bind.h"

namespace fasthash {

void bind_hamming(pybind11::module_& m) { (void)m; }

}  // namespace fasthash
