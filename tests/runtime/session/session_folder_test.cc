// A session on the disk: what was saved is there again, whatever broke a later save, and damage is
// found and named.
#include "runtime/session/session_folder.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <string>

#include "comm/error.h"
#include "tests/runtime/model/temporary_directory.h"
#include "tests/runtime/session/some_session.h"
#include "tests/support/small_disk.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;

class SessionFolderTest : public testing::Test {
 protected:
  fs::path session() const { return folder_ / "talk.session"; }

  SessionIndex save(std::uint64_t generation) const {
    SessionIndex index = test::some_index(generation);
    test::write_parts(session(), index);
    commit_session(session(), index);
    return index;
  }

  /// Whether all of it can be read, as it was saved by `generation`.
  void expect_there(std::uint64_t generation) const {
    const SessionIndex index = read_index(session());
    EXPECT_EQ(index.generation, generation);
    EXPECT_NO_THROW(verify_session(session(), index));
    for (const SessionPart& part : index.parts) {
      SessionPartReader reader(session(), index, part);
      for (std::int64_t page = 0; page < 3; ++page) {
        const Bytes bytes = reader.page(page);
        EXPECT_TRUE(std::ranges::equal(bytes, test::some_page(index, page, part.rank)));
      }
    }
  }

  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(session().parent_path())) {
      names.push_back(entry.path().filename().string());
    }
    std::ranges::sort(names);
    return names;
  }

  static void flip(const fs::path& file, std::int64_t at) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(at);
    const char byte = static_cast<char>(stream.get());
    stream.seekp(at);
    stream.put(static_cast<char>(byte ^ 0x10));
  }

  static std::string why(const std::function<void()>& tried) {
    try {
      tried();
    } catch (const Error& error) {
      return error.what();
    }
    return "it was done";
  }

  test::TemporaryDirectory folder_;
};

TEST_F(SessionFolderTest, WhatWasSavedIsThereForItsOwnerAlone) {
  save(5);
  expect_there(5);
  EXPECT_EQ(files(), (std::vector<std::string>{"talk.session", "talk.session.0000000000000005.0.kv",
                                               "talk.session.0000000000000005.1.kv"}));
  for (const std::string& name : files()) {
    struct stat status = {};
    ASSERT_EQ(stat((folder_ / name).c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600u) << name;
  }
}

TEST_F(SessionFolderTest, ASaveReplacesTheOneBeforeAndNobodyElses) {
  const fs::path other = folder_ / "talk.session.old";
  std::ofstream(folder_ / "talk.session.notes.kv") << "mine";
  SessionIndex copy = test::some_index(3);
  test::write_parts(other, copy);
  commit_session(other, copy);
  save(5);
  save(6);
  expect_there(6);
  EXPECT_NO_THROW(verify_session(other, read_index(other)));
  EXPECT_EQ(files().size(), 3u + 3u + 1u);
  EXPECT_EQ(sessions_in(session().parent_path()), (std::vector<fs::path>{session(), other}));
}

TEST_F(SessionFolderTest, ASaveThatBreaksOffAnywhereLeavesTheOneBefore) {
  save(5);
  {
    SessionIndex next = test::some_index(6);
    SessionPartWriter writer(session(), next, 0, {0, 2});
    writer.add(0, test::some_page(next, 0, 0));
    expect_there(5);  // a part is being written
  }
  EXPECT_EQ(files().size(), 3u) << "a part that was not finished is gone";
  SessionIndex next = test::some_index(6);
  test::write_parts(session(), next);
  expect_there(5);  // parts are there, the process is killed
  std::ofstream(session().string() + ".0000000000000006.index") << "half an ind";
  expect_there(5);  // the index is being written
  save(7);
  expect_there(7);
  EXPECT_EQ(files().size(), 3u) << "what broken saves left goes with the next one";
  SessionIndex refused = test::some_index(8);
  test::write_parts(session(), refused);
  drop_generation(session(), 8);
  EXPECT_EQ(files().size(), 3u);
}

TEST_F(SessionFolderTest, PartsThatAreGoneAreNamed) {
  const SessionIndex index = save(5);
  EXPECT_TRUE(missing_parts(session(), index).empty());
  const fs::path second = part_path(session(), 5, 1);
  fs::remove(second);
  EXPECT_EQ(missing_parts(session(), index), std::vector<fs::path>{second});
}

TEST_F(SessionFolderTest, AFullDiskIsSaidAndNothingIsLost) {
  const SessionIndex saved = save(5);
  for (std::size_t limit : {0u, 10u, 100u, 700u}) {
    const test::SmallDisk disk(limit);
    SessionIndex next = test::some_index(6);
    const std::string said = why([&] { test::write_parts(session(), next); });
    EXPECT_NE(said.find("there is no room left"), std::string::npos) << limit << ": " << said;
    drop_generation(session(), 6);
  }
  SessionIndex next = test::some_index(6);
  test::write_parts(session(), next);
  {
    const test::SmallDisk disk(50);
    EXPECT_NE(why([&] { commit_session(session(), next); }).find("no room left"),
              std::string::npos);
  }
  drop_generation(session(), 6);
  expect_there(5);
  EXPECT_EQ(files().size(), 3u);
}

TEST_F(SessionFolderTest, AFlippedByteIsFoundInThePageThatHasIt) {
  const SessionIndex index = save(5);
  for (const SessionPart& part : index.parts) {
    const fs::path file = part_path(session(), 5, part.rank);
    const auto bytes = static_cast<std::int64_t>(fs::file_size(file));
    std::int64_t page = 0;
    std::uint64_t end = kPartHeaderBytes + index.page_shape(0, part.heads.count).page_bytes();
    for (std::int64_t at = 0; at < bytes; ++at) {
      if (static_cast<std::uint64_t>(at) == end) {
        end += index.page_shape(++page, part.heads.count).page_bytes();
      }
      flip(file, at);
      const std::string said = why([&] { verify_session(session(), index); });
      const bool in_header = at < static_cast<std::int64_t>(kPartHeaderBytes);
      const std::string expected =
          in_header ? "is not the part that rank" : "page " + std::to_string(page) + " of the";
      EXPECT_NE(said.find(expected), std::string::npos) << "byte " << at << ": " << said;
      flip(file, at);
    }
  }
  expect_there(5);
}

TEST_F(SessionFolderTest, TheFirstBadPageOfAllPartsIsNamed) {
  const SessionIndex index = save(5);
  flip(part_path(session(), 5, 0),
       -1 + static_cast<std::int64_t>(fs::file_size(part_path(session(), 5, 0))));  // page 2
  flip(part_path(session(), 5, 1),
       kPartHeaderBytes + index.page_shape(0, 1).page_bytes());  // page 1
  const std::string said = why([&] { verify_session(session(), index); });
  EXPECT_NE(said.find("page 1 of the session (tokens 8 to 15) is damaged"), std::string::npos)
      << said;
}

TEST_F(SessionFolderTest, APartThatIsCutMissingOrOfAnotherSaveIsRefused) {
  const SessionIndex index = save(5);
  const fs::path file = part_path(session(), 5, 1);
  const auto bytes = fs::file_size(file);
  for (std::size_t left :
       {std::size_t{0}, std::size_t{23}, std::size_t{24}, bytes - 1, bytes + 1}) {
    fs::resize_file(file, left);
    EXPECT_NE(why([&] { verify_session(session(), index); }).find("bytes, but the session says"),
              std::string::npos)
        << left;
  }
  fs::remove(file);
  EXPECT_NE(why([&] { verify_session(session(), index); }).find("cannot be opened"),
            std::string::npos);
  SessionIndex other = test::some_index(6);
  test::write_parts(folder_ / "other", other);
  fs::rename(part_path(folder_ / "other", 6, 1), file);
  EXPECT_NE(why([&] { verify_session(session(), index); }).find("is not the part"),
            std::string::npos);
  SessionIndex unseen = test::some_index(7);
  unseen.parts = index.parts;
  EXPECT_NE(why([&] { commit_session(session(), unseen); }).find("a folder that all of them share"),
            std::string::npos);
}

TEST_F(SessionFolderTest, WhatIsNoSessionIsSaidToBeNone) {
  std::ofstream(folder_ / "notes.txt") << "a few notes, long enough to be anything";
  std::ofstream(folder_ / "empty") << "";
  EXPECT_NE(why([&] { (void)read_index(folder_ / "notes.txt"); }).find("is no session"),
            std::string::npos);
  EXPECT_NE(why([&] { (void)read_index(folder_ / "empty"); }).find("is no session"),
            std::string::npos);
  EXPECT_THROW((void)read_index(folder_ / "none"), MissingInput);
  EXPECT_THROW((void)read_index(session().parent_path()), DataError);
  EXPECT_THROW((void)sessions_in(folder_ / "none"), MissingInput);
  EXPECT_TRUE(sessions_in(session().parent_path()).empty());
}

}  // namespace
}  // namespace longspan
