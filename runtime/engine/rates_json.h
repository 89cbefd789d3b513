// The time model's constants as JSON: kept between starts (calibration_cache.h), and told with what
// was measured, for a model to be fitted anew.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "attention/machine_rates.h"

namespace longspan {

nlohmann::ordered_json json_of(const MachineRates& rates);

/// Throws DataError where a value cannot be a rate, nlohmann's exceptions where one is missing or
/// of another type.
MachineRates rates_of(const nlohmann::ordered_json& value);

}  // namespace longspan
