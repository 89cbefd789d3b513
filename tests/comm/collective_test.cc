#include "comm/collective.h"

#include <gmock/gmock.h>

#include "tests/support/run_ranks.h"

// That they deliver is part of the conformance suite; here is what they refuse.
namespace longspan {
namespace {

TEST(CollectiveTest, ASizeBeyondAllReasonIsRefusedBeforeMemoryIsTaken) {
  test::run_ranks(2, [](Communicator& comm) {
    std::uint64_t absurd = std::uint64_t{1} << 62;
    const auto announcement = std::as_bytes(std::span(&absurd, 1));
    std::vector<std::byte> bytes;
    if (comm.rank() == 0) {  // a root gone mad, then a victim
      comm.transfer({{1, announcement}}, {}, kStartPatience);
      EXPECT_THROW(gather(comm, {}, 0), CommError);
    } else {
      EXPECT_THROW(broadcast(comm, bytes, 0), CommError);
      comm.transfer({{0, announcement}}, {}, kStartPatience);
    }
  });
}

TEST(CollectiveTest, EachExitCodeTravelsAsItsOwnClass) {
  EXPECT_THROW(raise({ExitCode::kUsage, "x"}), UsageError);
  EXPECT_THROW(raise({ExitCode::kBadData, "x"}), DataError);
  EXPECT_THROW(raise({ExitCode::kNoInput, "x"}), MissingInput);
  EXPECT_THROW(raise({ExitCode::kUnavailable, "x"}), DeviceError);
  EXPECT_THROW(raise({ExitCode::kOutOfMemory, "x"}), OutOfMemory);
  EXPECT_THROW(raise({ExitCode::kIo, "x"}), IoError);
  EXPECT_THROW(raise({ExitCode::kTemporary, "x"}), CommError);
  EXPECT_THROW(raise({ExitCode::kPermission, "x"}), PermissionError);
  EXPECT_THROW(raise({ExitCode::kConfig, "x"}), ConfigError);
  try {
    raise({ExitCode::kInternal, "x"});
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kInternal);
  }
}

TEST(CollectiveTest, AgreementEndsEveryRankWithTheSameWordsAndCode) {
  test::run_ranks(5, [](Communicator& comm) {
    try {
      const bool fails = comm.rank() == 2 || comm.rank() == 4;
      agree(comm, fails
                      ? std::optional(Failure{ExitCode::kOutOfMemory, comm.rank() == 2 ? "" : "b"})
                      : std::nullopt);
      ADD_FAILURE() << "nobody threw";
    } catch (const OutOfMemory& error) {  // a failure without words is a failure, too
      EXPECT_THAT(error.what(), testing::MatchesRegex("rank 2 on .+: "));
    }
  });
}

}  // namespace
}  // namespace longspan
