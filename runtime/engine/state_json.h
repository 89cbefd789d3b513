// The scheduler's state as JSON: written on request, between two steps, for people and tests. It
// holds ids, lengths and pages, and no token of anybody.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>

#include "scheduler/planner_state.h"

namespace longspan {

nlohmann::ordered_json json_of(const PlannerState& state);

/// What json_of() wrote. Throws DataError for a phase or state that there is not, nlohmann's
/// exceptions where something is missing or of another type.
PlannerState planner_state_of(const nlohmann::ordered_json& value);

/// Writes it to a new file that only this user can read, in the folder for temporary files, and
/// names that in the log; a line there says why where it cannot be written. `group`: whose it is,
/// where there are several.
void write_state(const PlannerState& state, std::optional<int> group = std::nullopt);

}  // namespace longspan
