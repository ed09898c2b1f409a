#include "bindings/bind.h"

namespace fasthash {

void bind_pairwise_nll(pybind11::module_& m) { (void)m; }

}  // namespace fasthash
