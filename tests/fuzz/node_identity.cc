// storage/node_identity: the IDENTITY file. The checksum line is made right for half of the inputs,
// or nothing behind it would be reached.
#include "storage/node_identity.h"

#include <fmt/format.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/ram_files.h"
#include "tests/support/test_env.h"

namespace quorate::fuzz {
namespace {

using namespace quorate::storage;

constexpr char kPath[] = "data/IDENTITY";

}  // namespace

void Run(std::string_view input) {
  std::string text(input);
  if (!text.empty() && text.back() == '\n') text += fmt::format("crc {:08x}\n", Crc32c(text));
  TestEnv world;
  RamDisk disk;
  RamFiles files(world.executor, disk);
  {
    auto file = files.Open(kPath, OpenMode::kCreate);
    CHECK(file.ok() && (*file)->Write(0, text).ok());
  }
  NodeIdentity found;
  {
    auto directory = DataDirectory::Open(world.env, files, "data");
    if (!directory.ok()) {
      CHECK(!directory.status().message().empty());
      return;
    }
    found = (*directory)->identity();
    CHECK((*directory)->MarkCleanStop().ok());
  }
  auto again = DataDirectory::Open(world.env, files, "data");
  CHECK(again.ok(), "opened once, and then: {}", again.status().ToString());
  found.clean_stop = true;
  CHECK((*again)->identity() == found);
}

std::vector<std::string> Seeds() {
  TestEnv world;
  RamDisk disk;
  RamFiles files(world.executor, disk);
  auto directory = DataDirectory::Open(world.env, files, "data");
  CHECK(directory.ok());
  std::string fresh = *disk.Find(kPath);
  CHECK((*directory)->Assign(NewId(world.random), NodeId(3)).ok());
  std::string member = *disk.Find(kPath);
  // Without the checksum's line, which Run adds.
  return {fresh, member, member.substr(0, member.find("crc "))};
}

}  // namespace quorate::fuzz
