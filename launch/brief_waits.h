// How long OpenMP's threads spin where they wait for each other.
#pragma once

namespace longspan {

/// libgomp's threads spin for milliseconds before they sleep, unless the environment says how long.
/// When another program has the core of one, the others then burn what it needs: of two threads on
/// a busy machine, decode had a tenth of its speed. libgomp reads the environment when it is
/// loaded, so this starts the program again, in the same process, with a short spin; not where
/// OMP_WAIT_POLICY or GOMP_SPINCOUNT is set. Call it first. Returns if there is nothing to do or
/// it cannot be done.
void start_again_with_brief_waits(char** argv);

}  // namespace longspan
