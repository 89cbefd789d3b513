#include "launch/option_help.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "launch/option_table.h"

namespace longspan {
namespace {

using ::testing::HasSubstr;

TEST(OptionHelpTest, NamesEveryOptionUnderItsGroup) {
  const std::string help = generate_help();
  for (const auto& option : generate_options()) {
    EXPECT_THAT(help, HasSubstr("  " + option.flag()));
    EXPECT_THAT(help, HasSubstr(std::string(option.group) + ":\n"));
  }
  for (const auto& option : inspect_options()) {
    EXPECT_THAT(inspect_help(), HasSubstr("  " + option.flag()));
  }
  for (const auto& option : conversation_options()) {
    EXPECT_THAT(chat_help(), HasSubstr("  " + option.flag()));
  }
  for (const auto& option : batch_request_options()) {
    EXPECT_THAT(run_batch_help(), HasSubstr("  " + option.flag()));
  }
  for (const auto& option : run_batch_options()) {
    EXPECT_THAT(run_batch_help(), HasSubstr(option.flag()));
  }
  EXPECT_THAT(chat_help(), HasSubstr("/file PATH"));
  EXPECT_THAT(trace_help(), HasSubstr("  -o, --output FILE"));
}

TEST(OptionHelpTest, TeachesWithExamplesAndExitCodes) {
  EXPECT_THAT(generate_help(), HasSubstr("mpirun -np 4"));
  EXPECT_THAT(generate_help(), HasSubstr("srun --mpi=pmix"));
  EXPECT_THAT(generate_help(), HasSubstr("LONGSPAN_DEGREE for --degree"));
  for (const std::string& help : {program_help(), generate_help(), chat_help(), run_batch_help(),
                                  inspect_help(), trace_help()}) {
    EXPECT_THAT(help, HasSubstr("Exit codes:"));
    EXPECT_THAT(help, HasSubstr("130  Ctrl-C"));
  }
}

TEST(OptionHelpTest, FitsATerminalOfAHundredColumns) {
  for (const std::string& help : {program_help(), generate_help(), chat_help(), run_batch_help(),
                                  inspect_help(), trace_help()}) {
    std::istringstream lines(help);
    for (std::string line; std::getline(lines, line);) {
      EXPECT_LE(line.size(), 100u) << line;
      EXPECT_FALSE(line.ends_with(' ')) << line;
    }
  }
}

}  // namespace
}  // namespace longspan
