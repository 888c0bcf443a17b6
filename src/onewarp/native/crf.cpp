#include "crf.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <string>

#include "arrays.h"
#include "mean_field.h"
#include "parallel.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace onewarp {
namespace {

using Images = nb::ndarray<const uint8_t, nb::shape<-1, -1, -1, 3>, nb::c_contig, nb::device::cpu>;
using Probabilities = nb::ndarray<const float, nb::ndim<4>, nb::c_contig, nb::device::cpu>;
using Marginals = nb::ndarray<float, nb::ndim<5>, nb::c_contig, nb::device::cpu>;
using Matrix = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

// Deviations, the weight of a Potts term, or the matrix of another one.
struct TermArguments {
  std::vector<float> deviations;
  float weight;
  std::optional<Matrix> matrix;
};

TermArguments read_term(nb::handle object, const char* name, size_t deviations, int classes) {
  const nb::tuple tuple = nb::cast<nb::tuple>(object);
  TermArguments term{nb::cast<std::vector<float>>(tuple[0]), 0.0f, std::nullopt};
  if (term.deviations.size() != deviations)
    bad_value(std::string(name) + ": expected " + std::to_string(deviations) + " deviations");
  for (const float deviation : term.deviations)
    if (!(deviation > 0)) bad_value(std::string(name) + ": deviations must be above 0");
  if (nb::isinstance<nb::float_>(tuple[1])) {
    term.weight = nb::cast<float>(tuple[1]);
  } else {
    term.matrix = nb::cast<Matrix>(tuple[1], false);
    if (term.matrix->shape(0) != static_cast<size_t>(classes) || term.matrix->shape(1) != static_cast<size_t>(classes))
      bad_value(std::string(name) + ": expected a compatibility matrix of " + std::to_string(classes) + " classes");
  }
  return term;
}

int64_t dense_crf(Images images, Probabilities probabilities, Marginals out, nb::object gaussian, nb::object bilateral,
                  int iterations, int threads) {
  const int64_t n = static_cast<int64_t>(images.shape(0)), pixels = static_cast<int64_t>(images.shape(1) * images.shape(2));
  const int height = static_cast<int>(images.shape(1)), width = static_cast<int>(images.shape(2));
  const int classes = static_cast<int>(probabilities.shape(3));
  for (size_t axis = 0; axis < 3; ++axis)
    if (images.shape(axis) != probabilities.shape(axis) || images.shape(axis) != out.shape(axis + 1))
      bad_value("images, probabilities, out: sizes must agree");
  const bool all = out.shape(0) == static_cast<size_t>(iterations) + 1;
  if (iterations < 0 || threads < 1 || classes < 1 || out.shape(4) != probabilities.shape(3) || (!all && out.shape(0) != 1))
    bad_value("dense_crf: iterations >= 0, threads >= 1, and out of 1 or iterations + 1 results");
  if (pixels > int64_t{1} << 28) bad_value("images: more than 2^28 pixels each");
  if (n == 0 || pixels == 0) return -1;

  std::optional<TermArguments> terms[2];
  if (!gaussian.is_none()) terms[0] = read_term(gaussian, "gaussian", 2, classes);
  if (!bilateral.is_none()) terms[1] = read_term(bilateral, "bilateral", 5, classes);
  const auto settings = [&](int kind, const uint8_t* image) {
    LatticeSettings lattice{height, width, kind == 1 ? image : nullptr, {}};
    std::copy(terms[kind]->deviations.begin(), terms[kind]->deviations.end(), lattice.deviations);
    return lattice;
  };
  for (int kind = 0; kind < 2; ++kind)
    if (terms[kind] && !Lattice::fits(settings(kind, images.data())))
      bad_value(std::string(kind ? "bilateral" : "gaussian") + ": the deviations are too small for images of " +
                std::to_string(height) + "x" + std::to_string(width) + "; the lattice has more than 32767 steps; enlarge them");

  const nb::gil_scoped_release release;
  std::optional<Lattice> positions;  // the same for all images
  if (terms[0]) positions.emplace(settings(0, nullptr), threads);
  std::atomic<int64_t> bad{n * pixels};
  const auto run = [&](int64_t k, int inner) {
    MeanField field{probabilities.data() + k * pixels * classes, pixels, classes, iterations, {},
                    out.data() + k * pixels * classes, all, n * pixels * classes};
    const auto matrix = [&](int kind) { return terms[kind]->matrix ? terms[kind]->matrix->data() : nullptr; };
    std::optional<Lattice> colours;
    if (terms[0]) field.terms.push_back({&*positions, terms[0]->weight, matrix(0)});
    if (terms[1]) {
      colours.emplace(settings(1, images.data() + k * pixels * 3), inner);
      field.terms.push_back({&*colours, terms[1]->weight, matrix(1)});
    }
    const int64_t found = run_mean_field(field, inner);
    int64_t so_far = bad.load();
    while (found >= 0 && k * pixels + found < so_far && !bad.compare_exchange_weak(so_far, k * pixels + found)) {
    }
  };
  if (n >= threads) {
    parallel_for(n, threads, [&](int64_t k, int) { run(k, 1); });
  } else {
    for (int64_t k = 0; k < n; ++k) run(k, threads);
  }
  return bad.load() < n * pixels ? bad.load() : -1;
}

}  // namespace

void define_crf(nb::module_& m) {
  m.def("dense_crf", &dense_crf, "images"_a.noconvert(), "probabilities"_a.noconvert(), "out"_a.noconvert(),
        "gaussian"_a.none(), "bilateral"_a.none(), "iterations"_a, "threads"_a = 1,
        "Marginals of a dense CRF after mean field iterations: images uint8 [n, h, w, 3], probabilities float32\n"
        "[n, h, w, classes]; out float32 [1 or iterations + 1, n, h, w, classes]. A term is None or (deviations, weight or\n"
        "symmetric matrix float32 [classes, classes]): deviations x, y, with bilateral r, g, b. Returns -1, or the first\n"
        "pixel (over all images) whose probabilities cannot be used; out is not complete then.");
}

}  // namespace onewarp
