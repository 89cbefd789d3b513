#include "comm/shared_library.h"

#include <gmock/gmock.h>

#include "comm/error.h"

namespace longspan {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(SharedLibraryTest, TheFirstThatCanBeLoadedIsTaken) {
  const SharedLibrary library({"liblongspan-is-not-there.so.1", "libm.so.6"}, "install it");
  EXPECT_EQ(library.name(), "libm.so.6");
  const auto cosine = library.function<double (*)(double)>("cos");
  EXPECT_EQ(cosine(0.0), 1.0);
}

TEST(SharedLibraryTest, OneThatIsMissingIsNamedWithItsRemedy) {
  EXPECT_THAT([] { SharedLibrary({"liblongspan-is-not-there.so.1"}, "install the package x"); },
              ThrowsMessage<DeviceError>(AllOf(HasSubstr("liblongspan-is-not-there.so.1"),
                                               HasSubstr("install the package x"))));
}

TEST(SharedLibraryTest, AFunctionThatIsMissingIsNamed) {
  const SharedLibrary library({"libm.so.6"}, "install it");
  EXPECT_THAT(
      [&] { library.function<void (*)()>("longspan_cosine"); },
      ThrowsMessage<DeviceError>(AllOf(HasSubstr("libm.so.6"), HasSubstr("longspan_cosine"))));
}

}  // namespace
}  // namespace longspan
