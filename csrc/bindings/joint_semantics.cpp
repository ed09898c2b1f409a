#include "joint_semantics.h"

#include "bindings/bind.h"

namespace fasthash {
namespace {

// (affinity, image, text, p_image, p_text, n, m, index, beta, affine, unit)
using Teacher = std::tuple<std::uintptr_t, std::uintptr_t, std::uintptr_t, int64_t, int64_t, int64_t, int64_t,
                           std::uintptr_t, float, bool, bool>;

JointTeacher teacher_of(const Teacher& t) {
  return {at<const float>(std::get<0>(t)),
          at<const float>(std::get<1>(t)),
          at<const float>(std::get<2>(t)),
          std::get<3>(t),
          std::get<4>(t),
          std::get<5>(t),
          std::get<6>(t),
          at<const int64_t>(std::get<7>(t)),
          std::get<8>(t),
          std::get<9>(t),
          std::get<10>(t)};
}

}  // namespace

void bind_joint_semantics(pybind11::module_& m) {
  m.def(
      "joint_semantics_loss",
      [](const Teacher& teacher, std::uintptr_t image, std::uintptr_t text, int64_t d, double eta, double mu,
         double lambda1, double lambda2, std::uintptr_t moments, std::uintptr_t loss, std::uintptr_t grad_image,
         std::uintptr_t grad_text, int isa, int threads) {
        const JointCodes codes{
            at<const float>(image), at<const float>(text), d, eta, mu, lambda1, lambda2, at<const double>(moments),
            at<float>(grad_image),  at<float>(grad_text)};
        const JointTeacher given = teacher_of(teacher);
        interruptible([&] {
          *at<float>(loss) = static_cast<float>(joint_semantics_loss_cpu(given, codes, static_cast<Isa>(isa), threads));
        });
      },
      "Writes the loss, and the gradients whose address is not 0.");
  m.def(
      "joint_semantics_affinity",
      [](const Teacher& teacher, double eta, double mu, std::uintptr_t target, int isa, int threads) {
        const JointTeacher given = teacher_of(teacher);
        interruptible(
            [&] { joint_semantics_affinity_cpu(given, eta, mu, at<float>(target), static_cast<Isa>(isa), threads); });
      },
      "Writes the target [m, m].");
  m.def(
      "joint_semantics_moments",
      [](const Teacher& teacher, bool products, std::uintptr_t moments, int isa, int threads) {
        const JointTeacher given = teacher_of(teacher);
        interruptible(
            [&] { joint_semantics_moments_cpu(given, products, at<double>(moments), static_cast<Isa>(isa), threads); });
      },
      "Writes the traces of the second, third and fourth power of the affinity.");
}

}  // namespace fasthash
