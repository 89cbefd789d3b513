// Test programs that run under mpirun, one process per rank (longspan_test with RANKS).
//
// Every rank runs every test, in the same order. Rank 0 prints as usual; the others print their
// failures only, prefixed with their rank. If a test failed on any rank, all exit non-zero.
// As everywhere inside ranks: EXPECT_*, never ASSERT_*.
#pragma once

#include "comm/machine.h"

namespace longspan::test {

/// This rank's machine, opened before the first test and closed after the last.
Machine& machine();

/// How it is opened. A test program may define this itself; the library's own is weak.
MachineOptions machine_options();

}  // namespace longspan::test
