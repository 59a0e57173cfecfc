// raft/host/log_store and raft/core/membership: what a group keeps in the store and in its log.
#include "base/check.h"
#include "raft/core/membership.h"
#include "raft/host/log_store.h"
#include "storage/kv_store.h"
#include "tests/fuzz/fuzz.h"

namespace quorate::fuzz {

using namespace quorate::raft;

void Run(std::string_view input) {
  Configuration configuration;
  if (DecodeConfiguration(input, &configuration)) {
    CHECK(IsValid(configuration));
    Configuration same;
    CHECK(DecodeConfiguration(EncodeConfiguration(configuration), &same) && same == configuration);
  }
  GroupMeta meta;
  if (GroupMeta::Decode(input, &meta)) {
    GroupMeta same;
    CHECK(GroupMeta::Decode(meta.Encode(), &same) && same == meta);
  }
  GroupId group;
  const std::string key = storage::MakeKey(input.substr(0, 64));
  if (ParseGroupMetaKey(key, &group)) CHECK(GroupMetaKey(group) == key);
}

std::vector<std::string> Seeds() {
  const Configuration simple{.voters = {NodeId(1)}};
  const Configuration joint{.voters = {NodeId(1), NodeId(2), NodeId(300)},
                            .voters_outgoing = {NodeId(1), NodeId(4)},
                            .learners = {NodeId(4)}};
  GroupMeta meta;
  meta.applied_term = Term(5);
  meta.changes = {{LogIndex(1), simple}, {LogIndex(20), joint}};
  return {EncodeConfiguration(simple), EncodeConfiguration(joint), meta.Encode(),
          std::string(storage::KeyBody(GroupMetaKey(GroupId(7))))};
}

}  // namespace quorate::fuzz
