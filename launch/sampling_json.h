// How tokens are chosen, as JSON: for answers, and for what a batch remembers of its run.
#pragma once

#include <nlohmann/json.hpp>

#include "runtime/model/sampling.h"

namespace longspan {

/// All but the seed, which says nothing where nothing is drawn, and may be each request's own.
nlohmann::ordered_json sampling_json(const Sampling& sampling);

}  // namespace longspan
