// The main() of test programs that run under mpirun: see mpi_machine.h.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <thread>

#include "comm/collective.h"
#include "tests/support/mpi_machine.h"

// MPI libraries leak on purpose and are not instrumented.
extern "C" const char* __asan_default_options() { return "detect_leaks=0"; }
extern "C" const char* __tsan_default_options() { return "ignore_noninstrumented_modules=1"; }

namespace longspan::test {

__attribute__((weak)) MachineOptions machine_options() {
  return {.threads = 1, .hang_timeout = std::chrono::seconds(20)};
}

namespace {

std::unique_ptr<Machine>& opened_machine() {
  static std::unique_ptr<Machine> the_machine;
  return the_machine;
}

/// What ranks other than 0 print.
class FailuresOnly final : public testing::EmptyTestEventListener {
 public:
  explicit FailuresOnly(int rank) : rank_(rank) {}

 private:
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    std::fprintf(stderr, "[rank %d] %s:%d: %s\n", rank_,
                 result.file_name() == nullptr ? "?" : result.file_name(), result.line_number(),
                 result.message());
  }
  void OnTestEnd(const testing::TestInfo& test) override {
    if (test.result()->Failed()) {
      std::fprintf(stderr, "[rank %d] FAILED %s.%s\n", rank_, test.test_suite_name(), test.name());
    }
  }

  const int rank_;
};

void silence_unless_first(int rank) {
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  if (rank == 0) return;
  delete listeners.Release(listeners.default_result_printer());
  listeners.Append(new FailuresOnly(rank));
}

bool failed_anywhere(bool failed_here) {
  std::vector<std::byte> verdict{static_cast<std::byte>(failed_here)};
  Communicator& control = machine().control();
  for (const auto& report : gather(control, std::vector(verdict), 0)) {
    verdict[0] |= report.at(0);
  }
  broadcast(control, verdict, 0);
  return verdict[0] != std::byte{0};
}

/// Nobody can be asked any more, and mpirun kills everybody when the first rank leaves: that is
/// rank 0, whose verdict is printed by then, after time for the others to print theirs.
[[noreturn]] void leave_alone(bool failed_here) {
  std::this_thread::sleep_for(std::chrono::seconds(machine().rank() == 0 ? 1 : 20));
  leave_now(failed_here ? ExitCode::kDiffers : ExitCode::kClean);
}

}  // namespace

Machine& machine() { return *opened_machine(); }

}  // namespace longspan::test

int main(int argc, char** argv) {
  using namespace longspan;
  testing::InitGoogleTest(&argc, argv);
  try {
    test::opened_machine() = Machine::open(test::machine_options());
    test::silence_unless_first(test::machine().rank());
    const bool failed_here = RUN_ALL_TESTS() != 0;
    if (test::machine().abandoned()) test::leave_alone(failed_here);
    const bool failed = test::failed_anywhere(failed_here);
    test::opened_machine().reset();
    return failed ? 1 : 0;
  } catch (const Error& error) {
    std::fprintf(stderr, "[rank %d] %s\n", announced_rank(), error.what());
    leave_now(error.code());
  }
}
